//! Names in rules: exact, or with a trailing `*` that stands for any suffix.

/// A name in a rule. All other characters stand for themselves: a dot is a
/// dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The name, or what comes before the `*`.
    pub(super) text: Box<str>,
    pub(super) is_prefix: bool,
}

impl Pattern {
    /// Reads a name of a rule.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("is empty: name something, or leave it out".to_owned());
        }
        let (text, is_prefix) = match name.strip_suffix('*') {
            Some(text) => (text, true),
            None => (name, false),
        };
        if text.contains('*') {
            return Err(format!(
                "`{}` has a `*` that is not at the end: write the name exactly, or one `*` as its last character",
                name.escape_debug()
            ));
        }
        Ok(Self {
            text: text.into(),
            is_prefix,
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        if self.is_prefix {
            name.starts_with(&*self.text)
        } else {
            *name == *self.text
        }
    }
}

/// The part of a URI template before its first expression (RFC 6570), and
/// whether there is one.
pub(super) fn literal_prefix(template: &str) -> (&str, bool) {
    match template.split_once('{') {
        Some((literal, _)) => (literal, true),
        None => (template, false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a pattern")
    }

    #[test]
    fn pol_005_dots_and_other_signs_are_literal() {
        let prefix = pattern("db.*");
        for (name, expected) in [
            ("dbXdrop", false),
            ("db.", true),
            ("db.drop.x", true),
            ("db", false),
            ("DB.x", false),
        ] {
            assert_eq!(prefix.matches(name), expected, "{name}");
        }
        assert!(!pattern("a?[b]").matches("ax"));
        assert!(pattern("a?[b]").matches("a?[b]"));
    }

    #[test]
    fn a_star_alone_matches_everything() {
        for name in ["", "a", "*", "ä/b c"] {
            assert!(pattern("*").matches(name));
        }
    }

    #[test]
    fn stars_elsewhere_and_nothing_are_refused() {
        for text in ["", "*a", "a*b", "**", "a**", "*a*"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_is_split_at_its_first_expression() {
        assert_eq!(literal_prefix("file:///{a}/{b}"), ("file:///", true));
        assert_eq!(literal_prefix("file:///a"), ("file:///a", false));
        assert_eq!(literal_prefix("{+uri}"), ("", true));
    }

    proptest! {
        #[test]
        fn a_name_without_star_matches_itself_only(a in "[a-c.]{1,4}", b in "[a-c.]{1,4}") {
            prop_assert_eq!(pattern(&a).matches(&b), a == b);
        }

        #[test]
        fn a_prefix_matches_every_suffix(a in "[^*]{0,6}", b in any::<String>()) {
            let name = format!("{a}{b}");
            let prefix = format!("{a}*");
            prop_assert!(pattern(&prefix).matches(&name));
        }

        #[test]
        fn parsing_any_text_does_not_panic(text in any::<String>()) {
            let parsed = Pattern::parse(&text);
            prop_assert_eq!(parsed.is_ok(), !text.is_empty() && !text.trim_end_matches('*').contains('*') && !text.ends_with("**"));
        }
    }
}
