//! A request as its bytes came in.

use serde_json::Value;

/// A request, not interpreted beyond its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// The head with all line ends, without the empty line.
    pub head: String,
    /// The body, without the framing of chunks.
    pub body: Vec<u8>,
}

// === impl SeenRequest ===

impl SeenRequest {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The target.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// All headers in order, as they are written.
    #[must_use]
    pub fn headers(&self) -> Vec<(&str, &str)> {
        let lines = self.head.split("\r\n").skip(1);
        lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name, value.trim()))
            .collect()
    }

    /// The value of a header.
    ///
    /// # Panics
    /// It is there more than once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers()
            .into_iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value);
        assert!(
            found.next().is_none(),
            "`{name}` is there more than once: {}",
            self.head
        );
        value
    }

    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC method.
    #[must_use]
    pub fn rpc_method(&self) -> Option<String> {
        self.json()["method"].as_str().map(str::to_owned)
    }

    /// The tool that is called.
    #[must_use]
    pub fn tool(&self) -> Option<String> {
        self.json()["params"]["name"].as_str().map(str::to_owned)
    }
}
