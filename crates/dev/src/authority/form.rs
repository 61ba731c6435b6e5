//! The parameters of a token request.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use url::form_urlencoded;

use super::fault::Fault;

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Parameters, each at most once but `resource` (RFC 8707, section 2).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    parameters: BTreeMap<String, String>,
    pub(super) resources: Vec<String>,
}

// === impl Form ===

impl Form {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let essence = media_type
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case(MEDIA_TYPE) {
            return Err(Fault::invalid_request(
                "send application/x-www-form-urlencoded",
            ));
        }
        Self::parse(body)
    }

    fn parse(body: &[u8]) -> Result<Self, Fault> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            // Empty is the same as absent (RFC 6749, section 3.2).
            if value.is_empty() {
                continue;
            }
            if name == "resource" {
                form.resources.push(value.into_owned());
            } else if form
                .parameters
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                return Err(Fault::invalid_request("a parameter is there twice"));
            }
        }
        Ok(form)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_resource_may_be_there_twice() {
        assert!(Form::parse(b"scope=a&scope=b").is_err());
        assert!(Form::parse(b"scope=a&scope=").is_ok(), "empty is absent");
        let form = Form::parse(b"resource=a&resource=b&scope=x+y%20z").unwrap();
        assert_eq!(form.resources, ["a", "b"]);
        assert_eq!(form.get("scope"), Some("x y z"));
        assert_eq!(form.get("resource"), None);
    }

    #[test]
    fn the_media_type_is_asked_for() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]);
            Form::read(&headers, b"").is_ok()
        };
        assert!(read(MEDIA_TYPE));
        assert!(read("APPLICATION/x-www-form-urlencoded; charset=utf-8"));
        assert!(!read("application/json"));
        assert!(Form::read(&HeaderMap::new(), b"").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }

        #[test]
        fn what_was_written_is_read(
            values in prop::collection::btree_map("[a-z_]{1,8}", ".{1,20}", 0..6),
        ) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&values).finish();
            let form = Form::parse(body.as_bytes()).unwrap();
            for (name, value) in values.iter().filter(|(name, _)| *name != "resource") {
                prop_assert_eq!(form.get(name), Some(value.as_str()));
            }
        }
    }
}
