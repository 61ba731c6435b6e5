//! From a name to the rules that name it, at a cost that does not grow with
//! the number of rules.
//!
//! Every name in rules is kept once, under a hash of its text. One pass over
//! the name that is asked for yields the hash of each of its prefixes, so exact
//! names and prefixes are found in the same pass; only the lengths that occur
//! in rules are looked up.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::pattern::{Pattern, literal_prefix};

/// The rules by the names of one kind, such as tools.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    // INVARIANT: sorted by text, and each text is there once.
    buckets: Vec<Bucket>,
    /// The first bucket of a hash; others follow by `next`.
    by_hash: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
    // INVARIANT: sorted, without duplicates.
    prefix_lengths: Vec<usize>,
    longest_exact: Option<usize>,
}

/// What rules say about one text.
#[derive(Debug)]
struct Bucket {
    text: Box<str>,
    /// Rules that name exactly this, in order.
    exact: Vec<u32>,
    /// Rules that name everything that begins with this, in order.
    prefix: Vec<u32>,
    /// Another bucket with the same hash.
    next: Option<u32>,
}

/// How a name is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As it is.
    Name,
    /// As a template of which some expansion is to match.
    SomeExpansion,
    /// As a template of which every expansion is to match.
    EveryExpansion,
}

impl NameIndex {
    /// An index of the patterns, each with the number of its rule, in the
    /// order of rules.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (u32, &'a Pattern)>) -> Self {
        let mut by_text: std::collections::BTreeMap<&str, Bucket> = Default::default();
        for (rule, Pattern { text, is_prefix }) in patterns {
            let bucket = by_text.entry(text).or_insert_with(|| Bucket::of(text));
            let rules = if *is_prefix {
                &mut bucket.prefix
            } else {
                &mut bucket.exact
            };
            if rules.last() != Some(&rule) {
                rules.push(rule);
            }
        }
        let mut index = Self::default();
        for (at, mut bucket) in (0_u32..).zip(by_text.into_values()) {
            if !bucket.prefix.is_empty() {
                index.prefix_lengths.push(bucket.text.len());
            }
            if !bucket.exact.is_empty() {
                index.longest_exact = index.longest_exact.max(Some(bucket.text.len()));
            }
            bucket.next = index.by_hash.insert(hash_of(bucket.text.as_bytes()), at);
            index.buckets.push(bucket);
        }
        index.prefix_lengths.sort_unstable();
        index.prefix_lengths.dedup();
        index
    }

    /// Calls `visit` with each list of rules that match the name by a text of
    /// theirs; a rule can be in several, each list is in the order of rules.
    pub(super) fn matching(&self, name: &str, spelling: Spelling, visit: &mut dyn FnMut(&[u32])) {
        match (spelling, literal_prefix(name)) {
            (Spelling::Name, _) | (_, (_, false)) => self.by_name(name, true, visit),
            (Spelling::EveryExpansion, (literal, true)) => self.by_name(literal, false, visit),
            (Spelling::SomeExpansion, (literal, true)) => {
                self.by_name(literal, false, visit);
                self.beginning_with(literal, visit);
            }
        }
    }

    fn by_name(&self, name: &str, with_exact: bool, visit: &mut dyn FnMut(&[u32])) {
        let mut hash = EMPTY_HASH;
        let mut hashed = 0;
        for &length in &self.prefix_lengths {
            let Some(more) = name.as_bytes().get(hashed..length) else {
                break;
            };
            hash = extend(hash, more);
            hashed = length;
            if let Some(bucket) = self.bucket(hash, name.as_bytes().get(..length)) {
                visit_rules(&bucket.prefix, visit);
            }
        }
        if with_exact
            && self
                .longest_exact
                .is_some_and(|longest| name.len() <= longest)
        {
            hash = extend(hash, name.as_bytes().get(hashed..).unwrap_or_default());
            if let Some(bucket) = self.bucket(hash, Some(name.as_bytes())) {
                visit_rules(&bucket.exact, visit);
            }
        }
    }

    /// All rules that name something which begins with `text`.
    fn beginning_with(&self, text: &str, visit: &mut dyn FnMut(&[u32])) {
        let start = self.buckets.partition_point(|bucket| *bucket.text < *text);
        let longer = self.buckets.get(start..).unwrap_or_default();
        for bucket in longer
            .iter()
            .take_while(|bucket| bucket.text.starts_with(text))
        {
            visit_rules(&bucket.exact, visit);
            visit_rules(&bucket.prefix, visit);
        }
    }

    fn bucket(&self, hash: u64, text: Option<&[u8]>) -> Option<&Bucket> {
        let mut at = self.by_hash.get(&hash).copied();
        while let Some(bucket) = at.and_then(|at| self.buckets.get(usize::try_from(at).ok()?)) {
            if Some(bucket.text.as_bytes()) == text {
                return Some(bucket);
            }
            at = bucket.next;
        }
        None
    }
}

impl Bucket {
    fn of(text: &str) -> Self {
        Self {
            text: text.into(),
            exact: Vec::new(),
            prefix: Vec::new(),
            next: None,
        }
    }
}

fn visit_rules(rules: &[u32], visit: &mut dyn FnMut(&[u32])) {
    if !rules.is_empty() {
        visit(rules);
    }
}

// FNV-1a: its state after a prefix is the hash of the prefix. It needs no
// secret, since the texts in the table come from the rules: who asks can choose
// a name with the hash of a text, and gains one comparison by it.
const EMPTY_HASH: u64 = 0xcbf2_9ce4_8422_2325;

fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn hash_of(bytes: &[u8]) -> u64 {
    extend(EMPTY_HASH, bytes)
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = extend(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn patterns(texts: &[impl AsRef<str>]) -> Vec<Pattern> {
        texts
            .iter()
            .map(|text| Pattern::parse(text.as_ref()).expect("a pattern"))
            .collect()
    }

    fn index(patterns: &[Pattern]) -> NameIndex {
        NameIndex::new((0..).zip(patterns))
    }

    fn found(index: &NameIndex, name: &str, spelling: Spelling) -> BTreeSet<u32> {
        let mut all = BTreeSet::new();
        index.matching(name, spelling, &mut |rules| all.extend(rules));
        all
    }

    #[test]
    fn exact_names_and_prefixes_are_found() {
        let index = index(&patterns(&["get_a", "get_*", "*", "get_a*", "set_*"]));
        assert_eq!(
            found(&index, "get_a", Spelling::Name),
            BTreeSet::from([0, 1, 2, 3])
        );
        assert_eq!(
            found(&index, "get_", Spelling::Name),
            BTreeSet::from([1, 2])
        );
        assert_eq!(found(&index, "", Spelling::Name), BTreeSet::from([2]));
        assert_eq!(found(&index, "set", Spelling::Name), BTreeSet::from([2]));
    }

    #[test]
    fn a_template_agrees_with_what_it_can_become() {
        let index = index(&patterns(&[
            "file:///a/*",
            "file:///a/b",
            "file:///*",
            "http://x*",
            "*",
            "file:///a/b/*",
        ]));
        let some = |template| found(&index, template, Spelling::SomeExpansion);
        let every = |template| found(&index, template, Spelling::EveryExpansion);
        assert_eq!(some("file:///a/{name}"), BTreeSet::from([0, 1, 2, 4, 5]));
        assert_eq!(every("file:///a/{name}"), BTreeSet::from([0, 2, 4]));
        assert_eq!(some("file:///c/{name}"), BTreeSet::from([2, 4]));
        assert_eq!(some("{+uri}"), BTreeSet::from([0, 1, 2, 3, 4, 5]));
        assert_eq!(every("{+uri}"), BTreeSet::from([4]));
        assert_eq!(
            some("file:///a/b"),
            BTreeSet::from([0, 1, 2, 4]),
            "no expression, no choice"
        );
        assert_eq!(every("file:///a/b"), BTreeSet::from([0, 1, 2, 4]));
    }

    #[test]
    fn texts_with_one_hash_are_told_apart() {
        // Two buckets by hand, as if their texts had collided.
        let mut index = index(&patterns(&["a", "b"]));
        let hash = hash_of(b"a");
        index.by_hash.clear();
        index.by_hash.insert(hash, 1);
        index.buckets[1].next = Some(0);
        assert_eq!(found(&index, "a", Spelling::Name), BTreeSet::from([0]));
    }

    fn any_pattern() -> impl Strategy<Value = String> {
        "[ab/]{0,3}[ab/*]"
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_patterns_match(
            texts in proptest::collection::vec(any_pattern(), 0..12),
            name in "[ab/]{0,5}",
        ) {
            let patterns = patterns(&texts);
            let expected: BTreeSet<u32> =
                (0..).zip(&patterns).filter(|(_, p)| p.matches(&name)).map(|(at, _)| at).collect();
            prop_assert_eq!(found(&index(&patterns), &name, Spelling::Name), expected);
        }

        #[test]
        fn some_expansion_includes_each_expansion_and_every_is_in_all(
            texts in proptest::collection::vec(any_pattern(), 0..12),
            literal in "[ab/]{0,3}",
            value in "[ab/]{0,3}",
        ) {
            let index = index(&patterns(&texts));
            let template = format!("{literal}{{x}}");
            let expansion = found(&index, &format!("{literal}{value}"), Spelling::Name);
            let some = found(&index, &template, Spelling::SomeExpansion);
            let every = found(&index, &template, Spelling::EveryExpansion);
            prop_assert!(some.is_superset(&expansion));
            prop_assert!(every.is_subset(&expansion));
        }
    }
}
