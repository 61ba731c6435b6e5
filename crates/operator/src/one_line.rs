//! Words of others, made safe to show: in a status, a condition, a log line.

/// A text as one line of at most `most` characters. Control characters and line
/// separators become spaces. Format characters go: they hide text, or show it
/// in another order than it has (CVE-2021-42574).
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let shown = |character: char| match character {
        '\u{2028}' | '\u{2029}' => ' ',
        control if control.is_control() => ' ',
        other => other,
    };
    let seen = text.chars().filter(|character| !is_format(*character));
    seen.take(most).map(shown).collect()
}

/// The general category `Cf` of Unicode 16.
fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' // soft hyphen
        | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' // zero width, directional marks
        | '\u{202a}'..='\u{202e}' // embeddings, overrides
        | '\u{2060}'..='\u{206f}' // invisible operators, isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' // tags
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_dropped() {
        for (text, shown) in [
            ("port 80 is taken", "port 80 is taken"),
            ("a\nb\u{1b}[2J\u{2028}c\u{85}", "a b [2J c "),
            ("\u{202e}drowssap\u{202c}\u{2066}x\u{2069}", "drowssapx"),
            ("a\u{200b}d\u{200d}m\u{feff}i\u{ad}n\u{e0041}", "admin"),
            ("Größe 日本語", "Größe 日本語"),
        ] {
            assert_eq!(one_line(text, 100), shown);
        }
        assert_eq!(
            one_line("\u{200b}abc", 2),
            "ab",
            "what is dropped takes no room"
        );
    }

    proptest! {
        #[test]
        fn it_is_one_short_line(text in any::<String>(), most in 0_usize..40) {
            let line = one_line(&text, most);
            prop_assert!(line.chars().count() <= most);
            prop_assert!(!line.chars().any(|it| it.is_control() || is_format(it)));
        }
    }
}
