//! Listeners as the text of a condition: `ADDRESS:PORT/USER`, separated by
//! spaces.

use std::net::SocketAddr;

use sidegate_config::control::ForeignListener;

/// Bytes that the text may have.
const MAX_BYTES: usize = 1024;

/// A listener that a condition tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Who opened it.
    pub(crate) user_id: u32,
}

/// As many as fit.
pub(super) fn write(found: &[ForeignListener]) -> String {
    let mut text = String::new();
    for ForeignListener { address, user_id } in found {
        let word = format!("{address}/{user_id}");
        if text.len() + 1 + word.len() > MAX_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&word);
    }
    text
}

/// The listeners in a text; what cannot be read is left out.
pub(crate) fn read(text: &str) -> Vec<Found> {
    let text = match text.char_indices().nth(MAX_BYTES) {
        Some((end, _)) => text.get(..end).unwrap_or_default(),
        None => text,
    };
    text.split_ascii_whitespace()
        .filter_map(|word| {
            let (address, user_id) = word.rsplit_once('/')?;
            Some(Found {
                address: address.parse().ok()?,
                user_id: user_id.parse().ok()?,
            })
        })
        .collect()
}
