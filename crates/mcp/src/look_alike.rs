//! Names that are not a reserved one, but that some parser takes for it.
//!
//! Go's `encoding/json` matches names without regard to case and folds U+017F
//! and U+212A (CVE-2026-27896); others match by upper case, cut at NUL
//! (GHSA-q382-vc8q-7jhj) or trim. A message with such a name can mean two
//! things, so it is refused, whichever meaning was intended.

use crate::scan::{Fault, FaultKind, Scanner};

/// Refuses `name` when it resembles a reserved name without being one.
pub(crate) fn refuse_look_alike(
    name: &str,
    reserved: &[&str],
    scanner: &Scanner<'_>,
) -> Result<(), Fault> {
    if reserved.contains(&name) || !resembles(name, reserved) {
        return Ok(());
    }
    Err(scanner.fault(FaultKind::LookAlike))
}

/// Whether some parser could take `name` for one of `reserved`, which it is not.
pub(crate) fn resembles(name: &str, reserved: &[&str]) -> bool {
    if name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return reserved
            .iter()
            .any(|exact| exact.eq_ignore_ascii_case(name));
    }
    // No honest name holds a control character, and what a C string makes of
    // one is anybody's guess.
    if name.chars().any(char::is_control) {
        return true;
    }
    let folded = fold(name);
    reserved
        .iter()
        .any(|exact| exact.eq_ignore_ascii_case(&folded))
}

/// The name as the most careless reader would see it.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !is_invisible(*c))
        .map(narrow)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        // What lower-casing leaves of the dotted capital I.
        .filter(|c| *c != '\u{307}')
        .collect()
}

fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// The ASCII form of a full-width character.
fn narrow(c: char) -> char {
    match u32::from(c) {
        wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVED: &[&str] = &["name", "params", "taskId", "task", "uri", "_meta"];

    #[test]
    fn every_spelling_that_some_parser_folds_resembles_the_reserved_name() {
        for name in [
            "Name",
            "NAME",
            "nAmE",
            "param\u{17f}",
            "PARAM\u{17f}",
            "tas\u{212a}",
            "tas\u{212a}Id",
            "TASKID",
            "taskid",
            "name\u{0}",
            "name\u{0}x",
            "\u{0}",
            " name",
            "name ",
            "name\t",
            "\u{a0}name",
            "na\u{200b}me",
            "\u{feff}name",
            "\u{ff4e}ame",
            "ur\u{131}",
            "UR\u{130}",
            "_META",
            "na me",
        ] {
            assert!(resembles(name, RESERVED), "{name:?}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for name in [
            "",
            "names",
            "nam",
            "n\u{e4}me",
            "x-name",
            "progressToken",
            "vendor/name",
            "名前",
            "meta",
        ] {
            assert!(!resembles(name, RESERVED), "{name:?}");
        }
    }

    #[test]
    fn the_exact_name_is_accepted() {
        let scanner = Scanner::new(b"{}", 1).expect("JSON");
        for name in RESERVED {
            assert_eq!(
                refuse_look_alike(name, RESERVED, &scanner),
                Ok(()),
                "{name}"
            );
        }
        assert!(refuse_look_alike("Name", RESERVED, &scanner).is_err());
    }
}
