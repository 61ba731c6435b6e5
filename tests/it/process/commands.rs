//! The commands for people, and the admin port.

use std::fs;

use http::{Method, Request};
use serde_json::{Value, json};
use sidegate_testkit::client::Client;

use super::{Desk, FILE, sidegate};
use crate::support::RESOURCE;

const BROKEN: &str = "apiVersion: sidegate.dev/v1alpha1
kind: McpGateway
metadata:
  name: support
  namespace: crm
spec:
  selector:
    matchLabels: {app: support}
  servers:
    - name: support
      port: 8080
      resources: [\"ftp://localhost/mcp\"]
  tls: {mode: Plaintext}
  authentication:
    jwt:
      - issuer: https://idp.example
        jwks: {uri: https://idp.example/jwks}
  authorization:
    rules:
      - name: read
        tools: [get]
        when: args.x ==
";

#[tokio::test]
async fn check_lists_everything_that_is_wrong_with_its_line() {
    let desk = Desk::new().await;
    fs::create_dir(desk.path().join("broken")).unwrap();
    fs::write(desk.path().join("broken/gateway.yaml"), BROKEN).unwrap();
    fs::write(desk.path().join("broken/typo.yaml"), "kind: [\n").unwrap();

    let good = sidegate(&["check", "-f", FILE], desk.path()).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(
        good.stdout
            .ends_with("checked McpGateway crm/support: valid\n"),
        "{good:?}"
    );
    assert!(
        good.stdout
            .starts_with("warning: McpGateway crm/support: spec.tls.mode: Plaintext"),
        "{good:?}"
    );
    assert_eq!(good.stderr, "");

    let broken = "broken/gateway.yaml";
    let bad = sidegate(&["check", "-f", broken], desk.path()).await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert_eq!(bad.stdout, "");
    let places: Vec<_> = bad
        .stderr
        .lines()
        .map(|line| line.splitn(4, ": ").take(3).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        places,
        [
            "broken/gateway.yaml:12: McpGateway crm/support: spec.servers[0].resources[0]",
            "broken/gateway.yaml:22: McpGateway crm/support: spec.authorization.rules[0].when",
        ],
        "{bad:?}"
    );

    let typo = sidegate(&["check", "-f", "broken"], desk.path()).await;
    assert_eq!(typo.code, Some(1), "{typo:?}");
    assert!(typo.stderr.contains("broken/typo.yaml:"), "{typo:?}");
    let nothing = sidegate(&["check", "-f", "nowhere.yaml"], desk.path()).await;
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(nothing.stderr.starts_with("nowhere.yaml: "), "{nothing:?}");
}

const PROVIDERS: &str = "apiVersion: sidegate.dev/v1alpha1
kind: LlmProvider
metadata: {name: openai, namespace: ai}
spec:
  type: OpenAI
  credentials: {secretKeyRef: {name: openai, key: key}}
---
apiVersion: v1
kind: Secret
metadata: {name: openai, namespace: ai}
stringData: {key: sk-canary}
";

/// Files of providers alone are checked, with the Secrets beside them.
#[tokio::test]
async fn check_looks_at_providers_and_their_secrets() {
    let desk = Desk::new().await;
    let write = |text: &str| fs::write(desk.path().join("providers.yaml"), text).unwrap();
    let check = || async {
        let checked = sidegate(&["check", "-f", "providers.yaml"], desk.path()).await;
        assert!(!format!("{checked:?}").contains("canary"), "{checked:?}");
        checked
    };
    write(PROVIDERS);
    let good = check().await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert_eq!(good.stdout, "checked LlmProvider ai/openai: valid\n");

    write(&PROVIDERS.replace(
        "  type: OpenAI\n",
        "  type: OpenAI\n  baseUrl: https://gw/v1\n",
    ));
    let elsewhere = check().await;
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    assert_eq!(elsewhere.stdout, "");
    assert_eq!(
        elsewhere.stderr,
        "providers.yaml:7: LlmProvider ai/openai: spec.credentials.secretKeyRef.name: Secret \
         ai/openai does not say that it may be sent to gw; its owner lets it with this command: \
         `kubectl annotate secret openai -n ai sidegate.dev/allowed-hosts=gw --overwrite`\n"
    );

    write(PROVIDERS.split("---").next().unwrap());
    let alone = check().await;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(
        alone.stderr.contains("there is no Secret ai/openai"),
        "{alone:?}"
    );
    write("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let nothing = check().await;
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(
        nothing.stderr.contains("no McpGateway and no LlmProvider"),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn explain_decides_as_the_sidecar_does() {
    let desk = Desk::new().await;
    let token = |scope: &str| desk.issuer.token(RESOURCE).scope(scope);
    let (good, expired) = (
        token("customer:read").sign(),
        token("customer:read").expires_in(-60).sign(),
    );
    let (forged, foreign) = (
        token("customer:read").forged(),
        desk.issuer.token("https://other.example/mcp").sign(),
    );
    let urgent = r#"{"priority": "urgent"}"#;
    let cases: [(&[&str], i32, &str); 13] = [
        (
            &["--tool", "get_a", "--scopes", "customer:read"],
            0,
            "allow: rule `read` allows it\nscopes held: customer:read\n",
        ),
        (
            &["--tool", "get_a", "--scopes", "support:admin"],
            0,
            "allow: rule `read` allows it\n",
        ),
        (
            &["--tool", "get_a", "--scopes", "ticket:create"],
            3,
            "deny: rule `read` would allow it with: customer:read\n",
        ),
        (
            &["--tool", "drop_table", "--scopes", "support:admin"],
            3,
            "deny: rule `no-drop` denies it\n",
        ),
        (
            &["--tool", "other", "--scopes", "support:admin"],
            3,
            "deny: no rule allows it\n",
        ),
        (
            &["--tool", "create_ticket", "--scopes", "ticket:create"],
            0,
            "allow: rule `tickets` allows it\n",
        ),
        (
            &[
                "--tool",
                "create_ticket",
                "--args",
                urgent,
                "--scopes",
                "ticket:create",
            ],
            3,
            "deny: ",
        ),
        (&["--tool", "get_a", "--token", &good], 0, "allow: "),
        (
            &["--tool", "drop_table", "--token", &good],
            3,
            "deny: rule `no-drop` denies it\n",
        ),
        (
            &["--tool", "get_a", "--token", &expired],
            3,
            "deny: the token is refused: ",
        ),
        (
            &["--tool", "get_a", "--token", &forged],
            3,
            "deny: the token is refused: ",
        ),
        (
            &["--tool", "get_a", "--token", &foreign],
            3,
            "deny: the token is refused: ",
        ),
        (
            &[
                "--resource",
                "crm://customers/1",
                "--scopes",
                "customer:read",
            ],
            0,
            "allow: rule `read` allows it\n",
        ),
    ];
    for (question, code, answer) in cases {
        let all = [&["explain", "-f", FILE, "--server", "support"], question].concat();
        let ended = sidegate(&all, desk.path()).await;
        assert_eq!(ended.code, Some(code), "{all:?}: {ended:?}");
        assert!(ended.stdout.starts_with(answer), "{all:?}: {ended:?}");
        assert_eq!(ended.stderr, "", "{all:?}");
    }
    desk.upstream.assert_untouched();
}

#[tokio::test]
async fn explain_answers_programs_and_says_when_it_cannot_answer() {
    let desk = Desk::new().await;
    let json = sidegate(
        &[
            "explain", "-f", ".", "--server", "support", "--tool", "get_a", "--output", "json",
            "--scopes", "other",
        ],
        desk.path(),
    )
    .await;
    assert_eq!(json.code, Some(3), "{json:?}");
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["decision"], "deny");
    assert_eq!(answer["reason"], "missing_scope");
    assert_eq!(answer["rule"], "read");
    assert_eq!(answer["missingScopes"], json!(["customer:read"]));

    fs::write(desk.path().join("broken"), BROKEN).unwrap();
    let tool = ["--tool", "get_a", "--scopes", "a"];
    let cases: [(&[&str], &str); 5] = [
        (
            &["-f", FILE, "--server", "other"],
            "has no server `other`; it has: support",
        ),
        (&["-f", "broken", "--server", "support"], "broken:12: "),
        (
            &["-f", "nowhere", "--server", "support"],
            "nowhere: cannot be read",
        ),
        (
            &["-f", FILE, "--server", "support", "--args", "[]"],
            "--args must be a JSON object",
        ),
        (
            &["-f", FILE, "--server", "support", "--gateway", "a/b"],
            "a/b",
        ),
    ];
    for (question, wanted) in cases {
        let all = [&["explain"], question, &tool].concat();
        let ended = sidegate(&all, desk.path()).await;
        assert_eq!(ended.code, Some(2), "{all:?}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{all:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{all:?}");
    }
}

#[tokio::test]
async fn the_version_is_printed() {
    let version = concat!("sidegate ", env!("CARGO_PKG_VERSION"), "\n");
    for command in ["version", "--version"] {
        let ended = sidegate(&[command], &std::env::temp_dir()).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(0), version));
    }
}

/// ADM-007.
/// A page in a browser of this machine can send requests to loopback, and a
/// name of its own can resolve to it.
#[tokio::test]
async fn the_admin_port_refuses_web_pages() {
    let desk = Desk::new().await;
    let mut sidecar = desk.ready(&[]).await;
    let admin = Client::plaintext(sidecar.admin().await);
    let request = |method: Method, path: &str| Request::builder().method(method).uri(path);
    for (method, path) in [
        (Method::GET, "/config"),
        (Method::PUT, "/log-level"),
        (Method::POST, "/drain"),
    ] {
        let plain = request(method.clone(), path).body("trace".into()).unwrap();
        let rebound = admin.clone().host("attacker.example:15020");
        assert_eq!(rebound.send(plain).await.unwrap().status, 403, "{path}");
        for origin in ["https://attacker.example", "http://localhost:3000", "null"] {
            let of_a_page = request(method.clone(), path).header("origin", origin);
            let of_a_page = of_a_page.body("trace".into()).unwrap();
            assert_eq!(admin.send(of_a_page).await.unwrap().status, 403, "{path}");
        }
    }
    let config = admin.get("/config").await.unwrap().json();
    assert_eq!(
        (&config["draining"], &config["ready"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(admin.get("/log-level").await.unwrap().text(), "info");
    assert!(sidecar.process().terminate().await.success());
}
