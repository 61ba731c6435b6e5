//! From a token request to what the token shall say.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::form_urlencoded;

use super::config::Client;
use super::fault::Fault;
use super::form::Form;

/// A request that is well formed.
#[derive(Debug)]
pub(super) struct TokenRequest {
    form: Form,
    credentials: Credentials,
}

/// What a client proves itself with.
struct Credentials {
    id: String,
    secret: String,
}

/// What a token shall say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) audience: Vec<String>,
    /// Sorted, separated by spaces.
    pub(super) scope: String,
}

// === impl TokenRequest ===

impl TokenRequest {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        let form = Form::read(headers, body)?;
        let credentials = Credentials::of(headers, &form)?;
        Ok(Self { form, credentials })
    }

    /// What this request is given. The client is known before anything is said
    /// about what it asks for.
    pub(super) fn grant(&self, clients: &[Client], resources: &[String]) -> Result<Grant, Fault> {
        let client = self
            .credentials
            .find(clients)
            .ok_or_else(Fault::invalid_client)?;
        match self.form.get("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return Err(Fault::unsupported_grant_type()),
            None => return Err(Fault::invalid_request("grant_type is missing")),
        }
        Ok(Grant {
            client_id: client.id.clone(),
            audience: self.audience(resources)?,
            scope: self.scope(client)?,
        })
    }

    fn audience(&self, known: &[String]) -> Result<Vec<String>, Fault> {
        let wanted = &self.form.resources;
        if wanted.is_empty() {
            return known
                .first()
                .cloned()
                .map(|first| vec![first])
                .ok_or_else(Fault::invalid_target);
        }
        if wanted.iter().all(|resource| known.contains(resource)) {
            Ok(wanted.clone())
        } else {
            Err(Fault::invalid_target())
        }
    }

    fn scope(&self, client: &Client) -> Result<String, Fault> {
        let granted = match self.form.get("scope") {
            None => client.default_scopes.clone(),
            Some(text) => scopes(text).ok_or_else(|| Fault::invalid_scope("scope is malformed"))?,
        };
        if !granted.is_subset(&client.allowed_scopes) {
            return Err(Fault::invalid_scope(
                "the client may not have all of these scopes",
            ));
        }
        Ok(granted.into_iter().collect::<Vec<_>>().join(" "))
    }
}

/// Scopes as RFC 6749, section 3.3 writes them: one space between two.
fn scopes(text: &str) -> Option<BTreeSet<String>> {
    let is_scope = |scope: &str| {
        let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        !scope.is_empty() && scope.bytes().all(allowed)
    };
    text.split(' ')
        .map(|scope| is_scope(scope).then(|| scope.to_owned()))
        .collect()
}

// === impl Credentials ===

impl Credentials {
    /// By the header or by the body, never both (RFC 6749, section 2.3).
    fn of(headers: &HeaderMap, form: &Form) -> Result<Self, Fault> {
        let mut authorization = headers.get_all(AUTHORIZATION).iter();
        let in_body = (form.get("client_id"), form.get("client_secret"));
        match (authorization.next(), authorization.next(), in_body) {
            (Some(header), None, (id, None)) => {
                let found = header.to_str().ok().and_then(Self::basic);
                let found = found.ok_or_else(Fault::invalid_client)?;
                if id.is_some_and(|id| id != found.id) {
                    return Err(Fault::invalid_request("two clients are named"));
                }
                Ok(found)
            }
            (Some(_), _, _) => Err(Fault::invalid_request("more than one proof of the client")),
            (None, _, (Some(id), Some(secret))) => Ok(Self {
                id: id.to_owned(),
                secret: secret.to_owned(),
            }),
            (None, _, _) => Err(Fault::invalid_client()),
        }
    }

    /// `Basic`, with both parts form-encoded before base64 (RFC 6749, section
    /// 2.3.1).
    fn basic(header: &str) -> Option<Self> {
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some(Self {
            id: form_decoded(id),
            secret: form_decoded(secret),
        })
    }

    fn find<'a>(&self, clients: &'a [Client]) -> Option<&'a Client> {
        let client = clients.iter().find(|client| client.id == self.id)?;
        verify_slices_are_equal(client.secret.as_bytes(), self.secret.as_bytes()).ok()?;
        Some(client)
    }
}

impl std::fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn form_decoded(text: &str) -> String {
    // As the value of a nameless parameter; `&` and `=` in it stay themselves.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(escaped.as_bytes());
    pairs
        .next()
        .map_or_else(String::new, |(text, _)| text.into_owned())
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "https://one.example/mcp";
    const TWO: &str = "https://two.example/mcp";

    fn clients() -> Vec<Client> {
        vec![
            Client::new("agent", "s:e c/r&e=t%", &["read"]).may_also_have(&["write"]),
            Client::new("other", "other-secret", &["read"]),
        ]
    }

    fn ask(headers: &[(http::HeaderName, String)], body: &str) -> Result<Grant, &'static str> {
        let mut map = HeaderMap::new();
        map.insert(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded".parse().unwrap(),
        );
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let resources = [ONE.to_owned(), TWO.to_owned()];
        TokenRequest::read(&map, body.as_bytes())
            .and_then(|request| request.grant(&clients(), &resources))
            .map_err(|fault| fault.code)
    }

    fn post(more: &str) -> Result<Grant, &'static str> {
        let body = format!(
            "grant_type=client_credentials&client_id=other&client_secret=other-secret{more}"
        );
        ask(&[], &body)
    }

    fn basic(id: &str, secret: &str) -> Vec<(http::HeaderName, String)> {
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encode(id), encode(secret));
        vec![(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))]
    }

    #[test]
    fn what_is_not_asked_for_has_defaults() {
        let grant = post("").unwrap();
        assert_eq!(grant.audience, [ONE]);
        assert_eq!(grant.scope, "read");
        assert_eq!(grant.client_id, "other");
    }

    #[test]
    fn both_ways_to_send_the_secret_work_whatever_it_holds() {
        let header = basic("agent", "s:e c/r&e=t%");
        assert_eq!(
            ask(&header, "grant_type=client_credentials")
                .unwrap()
                .client_id,
            "agent"
        );
        let body =
            "grant_type=client_credentials&client_id=agent&client_secret=s%3Ae+c/r%26e%3Dt%25";
        assert_eq!(ask(&[], body).unwrap().client_id, "agent");
    }

    #[test]
    fn a_client_that_is_not_known_gets_nothing() {
        let grant = "grant_type=client_credentials";
        assert_eq!(ask(&[], grant), Err("invalid_client"));
        assert_eq!(ask(&basic("agent", "wrong"), grant), Err("invalid_client"));
        assert_eq!(
            ask(&basic("nobody", "other-secret"), grant),
            Err("invalid_client")
        );
        assert_eq!(
            ask(&[(AUTHORIZATION, "Bearer x".to_owned())], grant),
            Err("invalid_client")
        );
        assert_eq!(
            ask(&[(AUTHORIZATION, "Basic !".to_owned())], grant),
            Err("invalid_client")
        );
        let both = [basic("agent", "x"), basic("agent", "x")].concat();
        assert_eq!(ask(&both, grant), Err("invalid_request"));
        let twice = "grant_type=client_credentials&client_id=other&client_secret=other-secret";
        assert_eq!(
            ask(&basic("other", "other-secret"), twice),
            Err("invalid_request")
        );
        let another = "grant_type=client_credentials&client_id=agent";
        assert_eq!(
            ask(&basic("other", "other-secret"), another),
            Err("invalid_request")
        );
    }

    #[test]
    fn scopes_are_those_that_the_client_may_have() {
        let header = basic("agent", "s:e c/r&e=t%");
        let asked = |scope: &str| {
            ask(
                &header,
                &format!("grant_type=client_credentials&scope={scope}"),
            )
        };
        assert_eq!(asked("write").unwrap().scope, "write");
        assert_eq!(asked("write+read").unwrap().scope, "read write");
        assert_eq!(asked("").unwrap().scope, "read", "empty is absent");
        assert_eq!(asked("admin"), Err("invalid_scope"));
        assert_eq!(asked("read+admin"), Err("invalid_scope"));
        assert_eq!(asked("read++write"), Err("invalid_scope"));
        assert_eq!(asked("%22read"), Err("invalid_scope"));
    }

    #[test]
    fn resources_are_those_that_are_known() {
        let asked =
            |resource: &str| post(&format!("&resource={resource}")).map(|grant| grant.audience);
        assert_eq!(asked(TWO).unwrap(), [TWO]);
        assert_eq!(asked(&format!("{TWO}&resource={ONE}")).unwrap(), [TWO, ONE]);
        assert_eq!(asked("https://three.example/mcp"), Err("invalid_target"));
        assert_eq!(asked(&format!("{ONE}&resource=x")), Err("invalid_target"));
        let request = TokenRequest {
            form: Form::default(),
            credentials: Credentials {
                id: String::new(),
                secret: String::new(),
            },
        };
        assert_eq!(request.audience(&[]), Err(Fault::invalid_target()));
    }

    #[test]
    fn other_grants_are_refused() {
        let with = |grant: &str| {
            ask(
                &[],
                &format!("client_id=other&client_secret=other-secret{grant}"),
            )
        };
        assert_eq!(with("&grant_type=password"), Err("unsupported_grant_type"));
        assert_eq!(with(""), Err("invalid_request"));
    }

    proptest! {
        #[test]
        fn any_secret_survives_basic(secret in "\\PC{0,20}") {
            let header = basic("id", &secret);
            let read = Credentials::basic(&header[0].1).unwrap();
            prop_assert_eq!(read.secret, secret);
            prop_assert_eq!(read.id, "id");
        }

        #[test]
        fn any_header_is_read_or_refused(header in "\\PC{0,40}") {
            let _ = Credentials::basic(&header);
        }

        #[test]
        fn scopes_survive(wanted in prop::collection::btree_set("[!#-\\[\\]-~]{1,8}", 1..5)) {
            let text = wanted.iter().cloned().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(scopes(&text), Some(wanted));
        }
    }
}
