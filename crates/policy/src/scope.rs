//! OAuth scopes: one, a set of them, and which scope includes which.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest scope that is accepted.
pub const MAX_SCOPE_BYTES: usize = 256;

/// One scope token of RFC 6749, section 3.3.
///
/// Compared as a whole and byte by byte: `db:read` is neither part of
/// `db:readwrite` nor equal to `DB:read`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Arc<str>);

/// A text that is no scope token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{}` is not a scope: use 1 to {MAX_SCOPE_BYTES} printable ASCII characters without space, \
     quotation mark and backslash",
    .0.escape_debug()
)]
pub struct InvalidScope(String);

/// A set of scopes; cloning it is cheap.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ScopeSet {
    // INVARIANT: sorted, without duplicates; None instead of an empty slice,
    // so that the many empty sets cost no allocation.
    scopes: Option<Arc<[Scope]>>,
}

/// Which scopes a scope includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeHierarchy {
    // INVARIANT: transitively closed, so that one look-up per scope is enough.
    included: Arc<BTreeMap<Scope, ScopeSet>>,
}

// === impl Scope ===

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=MAX_SCOPE_BYTES).contains(&text.len()) && text.bytes().all(is_scope_byte);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidScope(text.to_owned()))
        }
    }
}

fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for Scope {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// === impl ScopeSet ===

impl ScopeSet {
    /// The scopes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.as_slice().iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scopes.is_none()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether this very scope is one of them.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.as_slice()
            .binary_search_by(|held| held.0.as_ref().cmp(scope))
            .is_ok()
    }

    /// Whether all scopes of `other` are in this set.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        other.iter().all(|scope| self.contains(scope.as_ref()))
    }

    /// The scopes of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.contains_all(other) {
            return self.clone();
        }
        self.iter().chain(other.iter()).cloned().collect()
    }

    /// The scopes of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.iter()
            .filter(|scope| !other.contains(scope.as_ref()))
            .cloned()
            .collect()
    }

    fn as_slice(&self) -> &[Scope] {
        self.scopes.as_deref().unwrap_or_default()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self {
            scopes: (!scopes.is_empty()).then(|| scopes.into()),
        }
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The form of a `scope` parameter: sorted, separated by spaces.
impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_set()
            .entries(self.iter().map(Scope::as_ref))
            .finish()
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::as_ref))
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| text.parse::<Scope>().map_err(D::Error::custom))
            .collect()
    }
}

// === impl ScopeHierarchy ===

impl ScopeHierarchy {
    /// A hierarchy from each including scope to what it includes.
    ///
    /// # Errors
    /// [`InvalidScope`] for the first text that is no scope.
    pub fn new(included: BTreeMap<String, Vec<String>>) -> Result<Self, InvalidScope> {
        let mut direct: BTreeMap<Scope, Vec<Scope>> = BTreeMap::new();
        for (scope, includes) in included {
            let includes = includes
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?;
            direct.insert(scope.parse()?, includes);
        }
        let closed = direct
            .keys()
            .map(|scope| (scope.clone(), reachable(scope, &direct)));
        Ok(Self {
            included: Arc::new(closed.collect()),
        })
    }

    /// The scopes with all that they include, directly or by way of others.
    #[must_use]
    pub fn expand(&self, scopes: &ScopeSet) -> ScopeSet {
        if self.included.is_empty() {
            return scopes.clone();
        }
        scopes.iter().fold(scopes.clone(), |all, scope| {
            match self.included.get(scope) {
                Some(included) => all.union(included),
                None => all,
            }
        })
    }
}

/// Everything that `scope` includes; each is visited once, so a cycle ends.
fn reachable(scope: &Scope, direct: &BTreeMap<Scope, Vec<Scope>>) -> ScopeSet {
    let mut found = std::collections::BTreeSet::new();
    let mut open = vec![scope];
    while let Some(next) = open.pop() {
        for included in direct.get(next).into_iter().flatten() {
            if found.insert(included.clone()) {
                open.push(included);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> ScopeSet {
        text.split_whitespace()
            .map(|scope| scope.parse().expect("a scope"))
            .collect()
    }

    fn hierarchy(pairs: &[(&str, &[&str])]) -> ScopeHierarchy {
        let pairs = pairs.iter().map(|(scope, includes)| {
            (
                (*scope).to_owned(),
                includes.iter().map(|&text| text.to_owned()).collect(),
            )
        });
        ScopeHierarchy::new(pairs.collect()).expect("a hierarchy")
    }

    #[test]
    fn a_scope_has_1_to_256_bytes() {
        assert!("".parse::<Scope>().is_err());
        assert!("a".parse::<Scope>().is_ok());
        assert!("a".repeat(256).parse::<Scope>().is_ok());
        assert!("a".repeat(257).parse::<Scope>().is_err());
    }

    #[test]
    fn a_scope_has_the_characters_of_rfc_6749() {
        for byte in 0..=0x7f_u8 {
            let text = char::from(byte).to_string();
            let expected =
                byte == 0x21 || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte);
            assert_eq!(text.parse::<Scope>().is_ok(), expected, "{byte:#x}");
        }
        assert!("ä".parse::<Scope>().is_err());
    }

    #[test]
    fn an_error_shows_what_was_wrong_and_what_is_right() {
        let error = "two words".parse::<Scope>().expect_err("a space");
        assert!(
            error
                .to_string()
                .starts_with("`two words` is not a scope: use 1 to 256")
        );
    }

    #[test]
    fn jwt_063_scopes_are_compared_as_a_whole() {
        let held = set("db:read2 db:readwrite");
        assert!(!held.contains("db:read"));
        assert!(!held.contains("DB:READWRITE"));
        assert!(held.contains("db:readwrite"));
    }

    #[test]
    fn a_set_is_printed_sorted_and_once() {
        assert_eq!(set("b a c a").to_string(), "a b c");
        assert_eq!(set("").to_string(), "");
        assert_eq!(format!("{:?}", set("a b")), r#"{"a", "b"}"#);
    }

    #[test]
    fn a_set_travels_as_a_list() {
        let text = serde_json::to_string(&set("b a")).expect("JSON");
        assert_eq!(text, r#"["a","b"]"#);
        assert_eq!(
            serde_json::from_str::<ScopeSet>(&text).expect("a set"),
            set("a b")
        );
        assert!(serde_json::from_str::<ScopeSet>(r#"["a b"]"#).is_err());
    }

    #[test]
    fn a_hierarchy_includes_by_way_of_others() {
        let hierarchy = hierarchy(&[("admin", &["write"]), ("write", &["read"])]);
        assert_eq!(hierarchy.expand(&set("admin x")), set("admin read write x"));
        assert_eq!(hierarchy.expand(&set("read")), set("read"));
        assert_eq!(hierarchy.expand(&set("")), set(""));
    }

    #[test]
    fn a_cycle_in_a_hierarchy_is_harmless() {
        let hierarchy = hierarchy(&[("a", &["b"]), ("b", &["a", "c"])]);
        assert_eq!(hierarchy.expand(&set("a")), set("a b c"));
        assert_eq!(hierarchy.expand(&set("c")), set("c"));
    }

    #[test]
    fn a_hierarchy_of_no_scopes_is_refused() {
        for (scope, included) in [("a b", "c"), ("a", "")] {
            let pairs = BTreeMap::from([(scope.to_owned(), vec![included.to_owned()])]);
            assert!(ScopeHierarchy::new(pairs).is_err());
        }
    }

    fn any_scope() -> impl Strategy<Value = String> {
        "[!#-\\[\\]-~]{1,20}"
    }

    proptest! {
        #[test]
        fn a_scope_is_printed_as_it_was_parsed(text in any_scope()) {
            let scope: Scope = text.parse().expect("a scope");
            prop_assert_eq!(scope.to_string(), text);
        }

        #[test]
        fn parsing_any_text_does_not_panic_and_keeps_it(text in any::<String>()) {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.as_ref(), text);
            }
        }

        #[test]
        fn sets_obey_set_algebra(a in "([a-e] ){0,5}", b in "([a-e] ){0,5}") {
            let (a, b) = (set(&a), set(&b));
            let both = a.union(&b);
            prop_assert!(both.contains_all(&a) && both.contains_all(&b));
            prop_assert_eq!(&both, &b.union(&a));
            let rest = a.difference(&b);
            prop_assert!(rest.iter().all(|scope| !b.contains(scope.as_ref())));
            prop_assert_eq!(rest.union(&b), both);
            prop_assert_eq!(a.len(), a.iter().count());
            prop_assert_eq!(a.is_empty(), a.iter().next().is_none());
            prop_assert_eq!(set(&a.to_string()), a);
        }

        #[test]
        fn expanding_twice_adds_nothing(
            pairs in proptest::collection::btree_map("[a-e]", proptest::collection::vec("[a-e]", 0..3), 0..5),
            held in "([a-e] ){0,3}",
        ) {
            let hierarchy = ScopeHierarchy::new(pairs).expect("a hierarchy");
            let once = hierarchy.expand(&set(&held));
            prop_assert!(once.contains_all(&set(&held)));
            prop_assert_eq!(hierarchy.expand(&once), once);
        }
    }
}
