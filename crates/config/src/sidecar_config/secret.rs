//! Values that nobody may see.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) const REDACTED: &str = "<redacted>";

/// A secret value. `Debug` does not show it; it is written out only as part of
/// a whole configuration, for the sidecar that needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Box<[u8]>);

// === impl SecretText ===

impl SecretText {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretText {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for SecretText {
    /// # Errors
    /// A value that is not text; keys in PEM are.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Err(serde::ser::Error::custom("a secret is not text")),
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
