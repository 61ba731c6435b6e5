//! Messages of MCP as clients send them.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

/// The revision without sessions.
pub const MODERN: &str = "2026-07-28";
/// The latest revision with sessions.
pub const LEGACY: &str = "2025-11-25";

/// A message under way to a server, which can still be changed.
#[derive(Debug, Clone)]
pub struct McpRequest {
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// A request of the revision without sessions, with everything that it needs.
#[must_use]
pub fn modern(method: &str, mut params: Value) -> McpRequest {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    let name = name.map(str::to_owned);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = McpRequest::post(body.to_string())
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", method);
    match name {
        Some(name) => request.header("mcp-name", &name),
        None => request,
    }
}

/// A call of a tool in the revision without sessions.
#[must_use]
pub fn call(tool: &str, arguments: Value) -> McpRequest {
    let mut params = json!({"name": tool});
    params["arguments"] = arguments;
    modern("tools/call", params)
}

/// A request of a revision with sessions; none while there is no session.
#[must_use]
pub fn legacy(method: &str, params: Value, session: Option<&str>) -> McpRequest {
    let mut body = json!({"jsonrpc": "2.0", "id": 1, "method": method});
    body["params"] = params;
    let request = McpRequest::post(body.to_string());
    match session {
        Some(session) => request
            .header("mcp-protocol-version", LEGACY)
            .header("mcp-session-id", session),
        None => request,
    }
}

/// The request that opens a session.
#[must_use]
pub fn initialize() -> McpRequest {
    let client = json!({"name": "sidegate-tests", "version": "1"});
    let params = json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client});
    legacy("initialize", params, None)
}

// === impl McpRequest ===

impl McpRequest {
    /// A body as it is, with the header that every message has.
    #[must_use]
    pub fn post(body: impl Into<Bytes>) -> Self {
        let request = Self {
            path: "/mcp".to_owned(),
            headers: Vec::new(),
            body: body.into(),
        };
        request
            .header(CONTENT_TYPE.as_str(), "application/json")
            .header(ACCEPT.as_str(), "application/json, text/event-stream")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a header out, or replaces it when `header` follows.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Adds a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Sends it to another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Sends another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The finished request, without `Host`.
    ///
    /// # Panics
    /// A header or the path is not valid.
    #[must_use]
    pub fn request(self) -> Request<Bytes> {
        let Self {
            path,
            headers,
            body,
        } = self;
        let request = headers
            .iter()
            .fold(Request::post(path), |request, (name, value)| {
                request.header(name, value)
            });
        request.body(body).expect("a valid request")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modern_call_says_everything_twice() {
        let request = call("get", json!({"a": 1})).token("t").request();
        assert_eq!(request.headers()["mcp-name"], "get");
        assert_eq!(request.headers()["mcp-method"], "tools/call");
        assert_eq!(request.headers()["authorization"], "Bearer t");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["params"]["arguments"], json!({"a": 1}));
        assert_eq!(
            body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
            MODERN
        );
    }

    #[test]
    fn headers_can_be_left_out() {
        let request = call("get", json!({})).without("Mcp-Name").request();
        assert!(!request.headers().contains_key("mcp-name"));
        assert_eq!(initialize().request().headers().get("mcp-session-id"), None);
    }
}
