//! What is asked for: an action on a resource, in a context.

/// What the principal wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `tools/call`.
    CallTool,
    /// `prompts/get`.
    GetPrompt,
    /// `resources/read`.
    ReadResource,
    /// `resources/subscribe`, `resources/unsubscribe`, or a URI of
    /// `subscriptions/listen`.
    SubscribeResource,
    /// `completion/complete`, on what it refers to.
    Complete,
    /// Following up a task, on the tool that began it.
    UseTask,
    /// A known method that names nothing permissioned, such as `initialize`,
    /// `ping`, or a list.
    UseSession,
    /// A method that is not known.
    CallMethod,
    /// A request to a model.
    Chat,
}

/// What the action is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A tool of an MCP server.
    Tool {
        /// The server's name in the gateway.
        server: &'a str,
        /// The tool's name.
        name: &'a str,
    },
    /// A prompt of an MCP server.
    Prompt {
        /// The server's name in the gateway.
        server: &'a str,
        /// The prompt's name.
        name: &'a str,
    },
    /// A resource of an MCP server.
    McpResource {
        /// The server's name in the gateway.
        server: &'a str,
        /// The resource's URI; with [`Action::Complete`] it may be a template.
        uri: &'a str,
    },
    /// A template of resources; in lists only.
    ResourceTemplate {
        /// The server's name in the gateway.
        server: &'a str,
        /// The template's text (RFC 6570).
        uri_template: &'a str,
    },
    /// A model.
    Model {
        /// The name by which callers ask for it.
        name: &'a str,
    },
    /// An MCP server as such.
    Server {
        /// The server's name in the gateway.
        server: &'a str,
    },
}

/// The facts beside principal, action and resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The JSON-RPC method.
    pub method: &'a str,
    /// The raw JSON text of `params.arguments`.
    pub arguments: Option<&'a str>,
}

/// Whether a server might understand the URI as another one than it spells.
///
/// True for dot segments (`.`, `..`), also percent-encoded, for encoded
/// slashes, backslashes and zero bytes, and for backslashes and control
/// characters; being encoded more than once hides none of them. Of two such spellings a rule would match one and the server open
/// the other (RFC 3986, sections 5.2.4 and 6.2.2). They are refused before a
/// rule is looked at.
#[must_use]
pub fn is_ambiguous_uri(uri: &str) -> bool {
    uri.chars()
        .any(|character| character == '\\' || character.is_control())
        || has_encoded_separator(uri.as_bytes())
        || has_dot_segment(uri)
}

fn has_encoded_separator(uri: &[u8]) -> bool {
    const CODES: [&[u8]; 3] = [b"2f", b"5c", b"00"];
    (0..uri.len()).any(|at| {
        let code = after_percent(uri.get(at..).unwrap_or_default()).and_then(|rest| rest.get(..2));
        code.is_some_and(|code| CODES.iter().any(|known| code.eq_ignore_ascii_case(known)))
    })
}

/// What follows a percent sign, itself encoded any number of times: a server
/// behind another one may decode more than once.
fn after_percent(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"%")?;
    while let Some(decoded) = rest.strip_prefix(b"25") {
        rest = decoded;
    }
    Some(rest)
}

/// Query and fragment end the path, but some servers take them for a part of
/// it, so a segment ends at their marks too, and what follows counts as well.
fn has_dot_segment(uri: &str) -> bool {
    uri.split(['/', '?', '#', ';']).any(is_dot_segment)
}

fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match (rest, after_percent(rest)) {
            ([b'.', tail @ ..], _) | (_, Some([b'2', b'e' | b'E', tail @ ..])) => tail,
            _ => return false,
        };
        dots += 1;
    }
    (1..=2).contains(&dots)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_uris_are_not_ambiguous() {
        for uri in [
            "file:///a/b.txt",
            "file:///a/...",
            "file:///a/.hidden/..b/c..",
            "https://example.com:8080/a%20b?x=1&y=a.b#c",
            "note://today",
            "urn:isbn:0451450523",
            "db://host/table/%C3%A4",
            "search://notes?q=one%0Atwo%25",
            "search://notes?q=50%25200",
            "file:///a/%25/b",
            "a",
            "",
        ] {
            assert!(!is_ambiguous_uri(uri), "{uri}");
        }
    }

    #[test]
    fn ambiguous_spellings_are_found() {
        for uri in [
            "file:///a/../b",
            "file:///a/./b",
            "file:///a/..",
            "file:///a/.",
            "../a",
            "file:///a/%2e%2e/b",
            "file:///a/.%2E/b",
            "file:///a/%2e./b",
            "file:///a/%2E/b",
            "file:///a%2fb",
            "file:///a%2F..%2Fb",
            "file:///a%5cb",
            "file:///a%5Cb",
            "file:///a\\b",
            "file:///a\nb",
            "file:///a\0b",
            "file:///a\u{7f}b",
            "file:///a%00b",
            "file:///a/%252e%252E/b",
            "file:///a/.%25252e/b",
            "file:///a%252fb",
            "file:///a%25255Cb",
            "file:///a\u{85}b",
            "file:///a/..?x",
            "file:///a/..#x",
            "file:///a/..;x/b",
            "file:///a?/../b",
        ] {
            assert!(is_ambiguous_uri(uri), "{uri:?}");
        }
    }

    proptest! {
        #[test]
        fn a_dot_segment_anywhere_is_found(
            before in "[a-z/]{0,8}",
            dots in prop::sample::select(vec![".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"]),
            after in "(/[a-z]{0,8})?",
        ) {
            let uri = format!("x://{before}/{dots}{after}");
            prop_assert!(is_ambiguous_uri(&uri));
        }

        #[test]
        fn any_text_is_judged_without_panic(text in any::<String>()) {
            let judged = is_ambiguous_uri(&text);
            prop_assert!(judged || !text.contains('\\'));
        }
    }
}
