//! Why a token request is refused (RFC 6749, section 5.2; RFC 8707, section 2).

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;

use super::answer::{self, Answer};

/// A refusal in the words of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) description: &'static str,
}

// === impl Fault ===

impl Fault {
    pub(super) fn invalid_request(description: &'static str) -> Self {
        Self {
            code: "invalid_request",
            description,
        }
    }

    /// Says the same whether the client or its secret is unknown.
    pub(super) fn invalid_client() -> Self {
        Self {
            code: "invalid_client",
            description: "the client or its secret is unknown",
        }
    }

    pub(super) fn unsupported_grant_type() -> Self {
        let description = "only client_credentials is supported";
        Self {
            code: "unsupported_grant_type",
            description,
        }
    }

    pub(super) fn invalid_scope(description: &'static str) -> Self {
        Self {
            code: "invalid_scope",
            description,
        }
    }

    pub(super) fn invalid_target() -> Self {
        let description = "the resource is none of those that the gateway states";
        Self {
            code: "invalid_target",
            description,
        }
    }

    pub(super) fn server_error() -> Self {
        Self {
            code: "server_error",
            description: "the authorization server failed",
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        let Self { code, description } = self;
        let status = match code {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({"error": code, "error_description": description});
        let answer = answer::json_with(status, &body);
        if status == StatusCode::UNAUTHORIZED {
            answer::with(answer, WWW_AUTHENTICATE, "Basic realm=\"sidegate-dev\"")
        } else {
            answer
        }
    }
}
