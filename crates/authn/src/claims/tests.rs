use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::testing::merge;

const NOW: i64 = 1_700_000_000;
const LEEWAY: Duration = Duration::from_secs(30);
const RESOURCE: &str = "https://mcp.test/mcp";

fn read_at(millis: i64, changes: &Value) -> Result<VerifiedClaims, Fault> {
    let mut all = json!({
        "iss": "https://idp.test/", "sub": "alice", "aud": RESOURCE, "exp": NOW + 600, "iat": NOW,
    });
    merge(&mut all, changes);
    let all = all.as_object().expect("an object").clone();
    let implied = BTreeMap::from([("admin".to_owned(), vec!["read".to_owned()])]);
    let hierarchy = ScopeHierarchy::new(implied).expect("a hierarchy");
    let rules = ClaimRules {
        issuer: &Arc::from("https://idp.test/"),
        scope_claims: &["scope".to_owned(), "scp".to_owned()],
        allowed_scopes: None,
        hierarchy: &hierarchy,
        max_lifetime: Duration::from_secs(3600),
    };
    let used = Use {
        now: Millis(millis),
        leeway: LEEWAY,
        audiences: &[RESOURCE.to_owned()],
    };
    VerifiedClaims::read(all, &rules, &used)
}

fn read(changes: &Value) -> Result<Arc<Claims>, Fault> {
    read_at(NOW * 1000, changes).map(|verified| Arc::clone(verified.claims()))
}

fn fault(changes: &Value) -> Option<Fault> {
    read(changes).err()
}

#[test]
fn the_claims_are_kept() {
    let claims = read(&json!({"client_id": "app", "scope": "b a", "x": {"y": 1}})).expect("good");
    assert_eq!(&*claims.issuer, "https://idp.test/");
    assert_eq!(&*claims.subject, "alice");
    assert_eq!(claims.client_id.as_deref(), Some("app"));
    assert_eq!(claims.scopes.to_string(), "a b");
    assert_eq!(claims.expires_at, NOW + 600);
    assert_eq!(claims.all.get("x"), Some(&json!({"y": 1})));
}

#[test]
fn jwt_037_expiry_is_exact_on_both_sides_of_the_leeway() {
    let exp = json!({"exp": NOW, "iat": NOW - 600});
    let end = (NOW + 30) * 1000;
    assert!(read_at(end - 1, &exp).is_ok());
    assert_eq!(read_at(end, &exp).map(|_| ()), Err(Fault::Expired));
    assert_eq!(
        fault(&json!({"exp": NOW - 32, "iat": NOW - 600})),
        Some(Fault::Expired)
    );
    assert_eq!(fault(&json!({"exp": NOW - 29, "iat": NOW - 600})), None);
    assert_eq!(fault(&json!({"exp": 0, "iat": 0})), Some(Fault::Expired));
}

#[test]
fn jwt_039_expiry_is_required_and_a_date() {
    assert_eq!(
        fault(&json!({"exp": "<absent>"})),
        Some(Fault::MissingClaim)
    );
    for exp in [
        json!(null),
        json!((NOW + 600).to_string()),
        json!([NOW + 600]),
        json!(true),
        json!(-1),
        json!(-0.5),
        json!(1e18),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(MAX_SECONDS + 1),
    ] {
        assert_eq!(
            fault(&json!({"exp": exp})),
            Some(Fault::BadClaimType),
            "{exp}"
        );
    }
    let last = json!({"exp": MAX_SECONDS});
    assert_eq!(
        fault(&last),
        Some(Fault::LifetimeTooLong),
        "a date, but a late one"
    );
}

#[test]
fn dates_may_have_fractions() {
    let claims = read(&json!({"exp": NOW as f64 + 600.5, "iat": NOW as f64 - 0.25}));
    assert_eq!(claims.expect("good").expires_at, NOW + 600);
    let exp = json!({"exp": NOW as f64 + 0.5});
    assert!(read_at(NOW * 1000 + 30_499, &exp).is_ok());
    assert_eq!(
        read_at(NOW * 1000 + 30_500, &exp).map(|_| ()),
        Err(Fault::Expired)
    );
}

#[test]
fn jwt_043_a_start_in_the_future_is_refused_beyond_the_leeway() {
    for (name, refusal) in [("nbf", Fault::NotYetValid), ("iat", Fault::IssuedInFuture)] {
        assert_eq!(fault(&json!({name: NOW + 30})), None, "{name}");
        assert_eq!(fault(&json!({name: NOW + 31})), Some(refusal), "{name}");
        assert_eq!(fault(&json!({name: "<absent>"})), None, "{name}");
        for wrong in [json!(null), json!("1"), json!({}), json!([]), json!(false)] {
            assert_eq!(
                fault(&json!({name: wrong})),
                Some(Fault::BadClaimType),
                "{name} {wrong}"
            );
        }
    }
}

#[test]
fn a_lifetime_is_bounded_on_both_sides() {
    assert_eq!(fault(&json!({"exp": NOW + 3600})), None);
    assert_eq!(
        fault(&json!({"exp": NOW + 3601})),
        Some(Fault::LifetimeTooLong)
    );
    assert_eq!(
        fault(&json!({"exp": NOW + 3600, "iat": "<absent>"})),
        None,
        "from now on"
    );
    let late = json!({"exp": NOW + 3601, "iat": "<absent>"});
    assert_eq!(fault(&late), Some(Fault::LifetimeTooLong));
    let old = json!({"exp": NOW + 1, "iat": NOW - 3600});
    assert_eq!(
        fault(&old),
        Some(Fault::LifetimeTooLong),
        "what counts is when it was issued"
    );
}

#[test]
fn jwt_047_048_an_audience_is_required_and_a_string() {
    assert_eq!(
        fault(&json!({"aud": "<absent>"})),
        Some(Fault::MissingClaim)
    );
    for aud in [
        json!(123),
        json!({}),
        json!(null),
        json!([]),
        json!([RESOURCE, 1]),
        json!([null]),
    ] {
        assert_eq!(
            fault(&json!({"aud": aud})),
            Some(Fault::BadClaimType),
            "{aud}"
        );
    }
    assert_eq!(fault(&json!({"aud": ["other", RESOURCE]})), None);
}

#[test]
fn audiences_are_bounded_on_both_sides() {
    let mut audiences = vec!["other"; 63];
    audiences.push(RESOURCE);
    assert_eq!(fault(&json!({"aud": audiences})), None);
    audiences.push("one more");
    assert_eq!(fault(&json!({"aud": audiences})), Some(Fault::BadClaimType));
}

#[test]
fn jwt_051_052_an_audience_is_compared_byte_for_byte() {
    for aud in [
        "https://MCP.test/mcp",
        "HTTPS://mcp.test/mcp",
        "https://mcp.test/mcp/",
        "https://mcp.test/mcp2",
        "https://mcp.test/mc",
        "https://mcp.test:443/mcp",
        "https://mcp.test/%6Dcp",
        "https://mcp.test/mcp ",
        "https://gw-b.test/mcp",
        "",
    ] {
        assert_eq!(
            fault(&json!({"aud": aud})),
            Some(Fault::WrongAudience),
            "{aud}"
        );
        assert_eq!(
            fault(&json!({"aud": [aud]})),
            Some(Fault::WrongAudience),
            "{aud}"
        );
    }
}

#[test]
fn a_subject_or_a_client_is_required() {
    let claims = read(&json!({"sub": "<absent>", "client_id": "batch"})).expect("good");
    assert_eq!(
        (&*claims.subject, claims.client_id.as_deref()),
        ("batch", Some("batch"))
    );
    let claims = read(&json!({"azp": "app"})).expect("good");
    assert_eq!(
        (&*claims.subject, claims.client_id.as_deref()),
        ("alice", Some("app"))
    );
    let claims = read(&json!({"azp": "app", "client_id": "batch"})).expect("good");
    assert_eq!(claims.client_id.as_deref(), Some("batch"));
    assert_eq!(
        fault(&json!({"sub": "<absent>"})),
        Some(Fault::MissingClaim)
    );
    for name in ["sub", "client_id", "azp"] {
        for wrong in [
            json!(null),
            json!(1),
            json!(["a"]),
            json!({"a": 1}),
            json!(""),
        ] {
            let refused = fault(&json!({name: wrong}));
            assert_eq!(refused, Some(Fault::BadClaimType), "{name} {wrong}");
        }
    }
}

#[test]
fn an_issuer_is_a_string() {
    let claims = |value: Value| {
        json!({"iss": value})
            .as_object()
            .expect("an object")
            .clone()
    };
    assert_eq!(issuer(&claims(json!("a"))), Ok("a"));
    assert_eq!(issuer(&Map::new()), Err(Fault::MissingClaim));
    for wrong in [json!(123), json!(["a"]), json!(null), json!({})] {
        assert_eq!(issuer(&claims(wrong)), Err(Fault::BadClaimType));
    }
}

fn granted(changes: &Value) -> String {
    read(changes).expect("good").scopes.to_string()
}

#[test]
fn jwt_061_063_scopes_are_split_on_single_spaces_and_whole() {
    assert_eq!(
        granted(&json!({"scope": "db:read weather:read"})),
        "db:read weather:read"
    );
    assert_eq!(
        granted(&json!({"scope": " b  a "})),
        "a b",
        "empty pieces are nothing"
    );
    assert_eq!(granted(&json!({"scope": ["b", "a"]})), "a b");
    assert_eq!(
        granted(&json!({"scope": ["b c", "a"]})),
        "a",
        "a piece with a space is no scope"
    );
    assert_eq!(granted(&json!({"scope": "a\tb c"})), "c");
    assert_eq!(granted(&json!({"scope": "a\"b c\\d é e"})), "e");
    assert_eq!(
        granted(&json!({"scope": "a", "scp": ["b"], "scopes": "c"})),
        "a b"
    );
    assert_eq!(granted(&json!({"scope": "db:read2"})), "db:read2");
}

#[test]
fn jwt_066_scopes_that_are_none_leave_the_caller_known() {
    for scope in [
        json!("<absent>"),
        json!(""),
        json!(" "),
        json!(null),
        json!(7),
        json!(true),
        json!({"a": "b"}),
        json!([]),
        json!(["a", 1]),
    ] {
        assert_eq!(granted(&json!({"scope": scope})), "", "{scope}");
    }
}

#[test]
fn implied_scopes_are_added_after_the_issuer_was_held_to_its_own() {
    assert_eq!(granted(&json!({"scope": "admin"})), "admin read");
    let hierarchy = ScopeHierarchy::new(BTreeMap::from([(
        "admin".to_owned(),
        vec!["read".to_owned()],
    )]))
    .expect("a hierarchy");
    let issuer = Arc::from("i");
    let scopes_of = |allowed: &[&str], scope: &str| {
        let allowed: Vec<String> = allowed.iter().map(|&scope| scope.to_owned()).collect();
        let rules = ClaimRules {
            issuer: &issuer,
            scope_claims: &["scope".to_owned()],
            allowed_scopes: Some(&allowed),
            hierarchy: &hierarchy,
            max_lifetime: Duration::ZERO,
        };
        let all = json!({"scope": scope});
        scopes(all.as_object().expect("an object"), &rules).to_string()
    };
    assert_eq!(scopes_of(&["read"], "admin read other"), "read");
    assert_eq!(
        scopes_of(&["admin"], "admin other"),
        "admin read",
        "what it may grant implies more"
    );
    assert_eq!(scopes_of(&[], "admin read"), "");
}
