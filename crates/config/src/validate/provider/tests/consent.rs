//! Secrets and where they would go.

use super::*;

const ASKED: Cause = Cause::SecretNotOptedIn;

/// What is wrong, as cause and message.
fn wrong(spec: &Value, secrets: Vec<SecretDocument>) -> Vec<(Cause, String)> {
    match validated(spec, secrets, false) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .iter()
            .map(|it| (it.cause(), it.message().to_owned()))
            .collect(),
    }
}

/// The one thing that is wrong.
fn one(spec: &Value, secret: SecretDocument) -> (Cause, String) {
    let mut found = wrong(spec, vec![secret]);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn at(provider_type: &str, url: &str) -> Value {
    json!({"type": provider_type, "baseUrl": url, "credentials": key()})
}

fn command(hosts: &str) -> String {
    format!("`kubectl annotate secret openai -n ai sidegate.dev/allowed-hosts={hosts} --overwrite`")
}

#[test]
fn a_secret_goes_to_built_in_hosts_of_the_type_by_itself() {
    for spec in [
        json!({"type": "OpenAI", "credentials": key()}),
        json!({"type": "Anthropic", "credentials": key()}),
        json!({"type": "Cohere", "credentials": key()}),
        json!({"type": "Gemini", "credentials": key()}),
        json!({"type": "Bedrock", "credentials": sig_v4("us-east-1")}),
        at("OpenAI", "https://API.openai.com/v1"),
        at("AzureOpenAI", "https://crm.openai.azure.com"),
        at(
            "Bedrock",
            "https://bedrock-runtime.eu-central-1.amazonaws.com",
        ),
    ] {
        // What the annotation says of other hosts does not matter.
        for hosts in ["", "gw.example.com", "*"] {
            assert_eq!(wrong(&spec, vec![secret("openai", hosts)]), [], "{spec}");
        }
    }
}

#[test]
fn other_hosts_need_its_word_whatever_the_type() {
    for (spec, host) in [
        (at("OpenAI", "https://gw.example.com/v1"), "gw.example.com"),
        (at("OpenAI", "https://GW.Example.com/v1"), "gw.example.com"),
        (
            at("OpenAI", "https://gw.example.com:8443"),
            "gw.example.com:8443",
        ),
        (
            at("OpenAI", "https://api.anthropic.com"),
            "api.anthropic.com",
        ),
        (
            at("OpenAI", "https://api.openai.com:8443"),
            "api.openai.com:8443",
        ),
        (at("Anthropic", "https://api.openai.com"), "api.openai.com"),
        (at("Cohere", "https://api.cohere.ai"), "api.cohere.ai"),
        (at("Gemini", "https://10.0.0.1/v1"), "10.0.0.1"),
        (
            at("AzureOpenAI", "https://crm.openai.azure.us"),
            "crm.openai.azure.us",
        ),
        (
            at("Bedrock", "https://bedrock-runtime.s3.amazonaws.com"),
            "bedrock-runtime.s3.amazonaws.com",
        ),
        (
            at("OpenAICompatible", "https://api.openai.com"),
            "api.openai.com",
        ),
        (
            at("OpenAICompatible", "https://xn--gnther-3ya.example"),
            "xn--gnther-3ya.example",
        ),
    ] {
        let asked = one(&spec, secret("openai", ""));
        assert_eq!(
            asked,
            (
                ASKED,
                format!(
                    "Secret ai/openai does not say that it may be sent to {host}; its owner lets \
                     it with this command: {}",
                    command(host)
                )
            )
        );
        assert_eq!(wrong(&spec, vec![secret("openai", host)]), [], "{spec}");
        let near = [
            "example.com",
            "x.gw.example.com",
            "openai.com",
            "gw.example.com:1",
        ];
        for near in near {
            assert_eq!(one(&spec, secret("openai", near)).0, ASKED, "{near}");
        }
    }
}

#[test]
fn the_command_keeps_what_was_allowed_before() {
    let spec = at("OpenAI", "https://gw.example.com");
    let (cause, message) = one(&spec, secret("openai", "a.example.com, b:8443"));
    assert_eq!(cause, ASKED);
    let expected = command("gw.example.com,a.example.com,b:8443");
    assert!(message.ends_with(&expected), "{message}");

    let (cause, message) = one(&spec, secret("openai", "*.example.com,b,C"));
    assert_eq!(cause, ASKED);
    assert!(
        message.contains("says `*.example.com`, which must be one host"),
        "{message}"
    );
    assert!(message.ends_with(&command("gw.example.com,b")), "{message}");
    // Also one that names the host beside.
    let (_, message) = one(&spec, secret("openai", "gw.example.com,*"));
    assert!(message.ends_with(&command("gw.example.com")), "{message}");

    let full: Vec<_> = (0..32).map(|index| format!("h{index}")).collect();
    let (_, message) = one(&spec, secret("openai", &full.join(",")));
    assert!(message.contains("replace one of them"), "{message}");
    assert!(!message.contains("kubectl"), "{message}");
    let (_, message) = one(&spec, secret("openai", &full[1..].join(",")));
    assert!(message.contains(&full[1..].join(",")), "not cut: {message}");
    assert!(message.ends_with("--overwrite`"), "{message}");

    let brackets = at("OpenAI", "https://[2001:db8::1]:8443");
    let (_, message) = one(&brackets, secret("openai", ""));
    let quoted = "'sidegate.dev/allowed-hosts=[2001:db8::1]:8443' --overwrite`";
    assert!(message.ends_with(quoted), "{message}");
}

#[test]
fn a_token_endpoint_needs_its_word_and_so_does_where_the_token_goes() {
    let token = "https://idp.example.com/token";
    let azure = json!({"type": "AzureOpenAI", "baseUrl": "https://crm.openai.azure.com",
                       "credentials": client(token)});
    let other = json!({"type": "OpenAICompatible", "baseUrl": "https://gw.example.com",
                       "credentials": client(token)});
    let same = json!({"type": "OpenAICompatible", "baseUrl": "https://idp.example.com/v1",
                      "credentials": client(token)});
    for (spec, hosts, missing) in [
        (&azure, "", "idp.example.com"),
        (&azure, "idp.example.com", ""),
        (&other, "", "idp.example.com,gw.example.com"),
        (&other, "idp.example.com", "gw.example.com,idp.example.com"),
        (&other, "gw.example.com", "idp.example.com,gw.example.com"),
        (&other, "gw.example.com,idp.example.com", ""),
        (&same, "", "idp.example.com"),
    ] {
        let found = wrong(spec, vec![secret("openai", hosts)]);
        if missing.is_empty() {
            assert_eq!(found, [], "{spec} {hosts}");
            continue;
        }
        // Once, though two of its values would go.
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.ends_with(&command(missing)), "{found:?}");
    }
}

#[test]
fn each_secret_is_asked() {
    let mut keys = sig_v4("us-east-1");
    keys["awsSigV4"]["sessionTokenRef"] = json!({"name": "session", "key": "token"});
    let spec = json!({"type": "Bedrock", "baseUrl": "https://gw.example.com", "credentials": keys});
    let secrets = vec![secret("openai", "gw.example.com"), secret("session", "")];
    let found = validated(&spec, secrets, false).expect_err("one has not consented");
    let fields: Vec<_> = found.iter().map(|it| (it.field(), it.cause())).collect();
    assert_eq!(
        fields,
        [("spec.credentials.awsSigV4.sessionTokenRef.name", ASKED)]
    );
}

/// OPR-004.
#[test]
fn secrets_of_another_use_are_no_credentials() {
    let spec = json!({"type": "OpenAI", "credentials": key()});
    for other in [
        "kubernetes.io/service-account-token",
        "bootstrap.kubernetes.io/token",
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/dockercfg",
        "kubernetes.io/tls",
        "kubernetes.io/basic-auth",
        "kubernetes.io/ssh-auth",
        "helm.sh/release.v1",
        "opaque",
        "",
    ] {
        let mut secret = secret("openai", "api.openai.com");
        secret.secret_type = other.to_owned();
        let (cause, message) = one(&spec, secret);
        assert_eq!(cause, ASKED, "{other}");
        assert!(
            message.contains(&format!("has type `{other}`")),
            "{message}"
        );
    }
    let mut own = secret("openai", "");
    own.secret_type = "sidegate.dev/credentials".to_owned();
    assert_eq!(wrong(&spec, vec![own]), []);
}

#[test]
fn what_is_missing_or_no_credential_is_named_and_not_shown() {
    let spec = json!({"type": "OpenAI", "credentials": key()});
    let found = wrong(&spec, Vec::new());
    assert_eq!(found[0].0, Cause::SecretNotFound);
    assert!(
        found[0].1.contains("there is no Secret ai/openai"),
        "{found:?}"
    );

    for (value, expected) in [
        (None, "has no key `key`"),
        (Some(""), "`key` of Secret ai/openai is empty"),
        (Some("canary\n"), "has a line end"),
        (Some("canary\r"), "has a line end"),
        (Some(" canary"), "has a line end"),
        (Some("canary "), "has a line end"),
        (Some("canary\0"), "has a line end"),
        (Some("canäry"), "has a line end"),
        (
            Some("-----BEGIN PRIVATE KEY-----\ncanary"),
            "has a line end",
        ),
    ] {
        let mut secret = secret("openai", "");
        secret.data.clear();
        let value = value.map(|value| ("key".to_owned(), value.to_owned().into()));
        secret.data.extend(value);
        let (cause, message) = one(&spec, secret);
        assert_eq!(cause, Cause::SecretNotFound, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    for good in ["k", "sk-canary", "a b", "~!@#$%^&*()"] {
        let mut secret = secret("openai", "");
        secret.data.insert("key".to_owned(), good.to_owned().into());
        assert_eq!(wrong(&spec, vec![secret]), [], "{good}");
    }
}

/// A Secret of the same name elsewhere is another one.
#[test]
fn secrets_of_other_namespaces_are_not_there() {
    let spec = json!({"type": "OpenAI", "credentials": key()});
    let mut secret = secret("openai", "");
    secret.namespace = "other".to_owned();
    assert_eq!(one(&spec, secret).0, Cause::SecretNotFound);
}
