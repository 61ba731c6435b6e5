//! Plain scalars, in the forms that YAML 1.1 and YAML 1.2 read alike.
//!
//! `kubectl` reads YAML 1.1, where `no` is false and `010` is eight; YAML 1.2
//! reads a string and ten. A file must mean the same on the desk and in a
//! cluster, so whatever the two read differently is refused, not guessed.

use serde_json::Number;

/// The value of a plain scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    Text,
}

/// Why a plain scalar is refused. The text says what it could be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ambiguous {
    #[error("is a boolean in YAML 1.1 and text in YAML 1.2")]
    Boolean,
    #[error("is one number in YAML 1.1 and another, or text, in YAML 1.2")]
    Number,
    #[error("is a number of base 60 in YAML 1.1 and text in YAML 1.2")]
    Sexagesimal,
    #[error("is a date in YAML 1.1 and text in YAML 1.2")]
    Date,
    #[error("is a number that JSON, and so the API server, cannot hold")]
    NotJson,
    #[error("has a meaning of its own in YAML 1.1")]
    Special,
}

/// What a plain scalar means.
///
/// # Errors
/// [`Ambiguous`] for one that must be quoted.
pub(super) fn resolve(text: &str) -> Result<Plain, Ambiguous> {
    if let Some(word) = word(text) {
        return word;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_decimal(unsigned) {
        return integer(text);
    }
    if let Some(digits) = text
        .strip_prefix("0x")
        .filter(|digits| is_all(digits, u8::is_ascii_hexdigit))
    {
        return u64::from_str_radix(digits, 16)
            .map(|number| Plain::Number(number.into()))
            .map_err(|_| Ambiguous::NotJson);
    }
    if is_common_float(unsigned) {
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        return number.map(Plain::Number).ok_or(Ambiguous::NotJson);
    }
    if is_date(text) {
        return Err(Ambiguous::Date);
    }
    if is_sexagesimal(unsigned) {
        return Err(Ambiguous::Sexagesimal);
    }
    if is_number_to_somebody(unsigned) {
        return Err(Ambiguous::Number);
    }
    Ok(Plain::Text)
}

fn word(text: &str) -> Option<Result<Plain, Ambiguous>> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Ok(Plain::Null),
        "true" | "True" | "TRUE" => Ok(Plain::Bool(true)),
        "false" | "False" | "FALSE" => Ok(Plain::Bool(false)),
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "on" | "On" | "ON"
        | "off" | "Off" | "OFF" => Err(Ambiguous::Boolean),
        "<<" | "=" => Err(Ambiguous::Special),
        _ => {
            let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
            let special = [".inf", ".nan"]
                .iter()
                .any(|name| unsigned.eq_ignore_ascii_case(name));
            return special.then_some(Err(Ambiguous::NotJson));
        }
    })
}

/// A decimal integer without leading zeros.
fn is_decimal(text: &str) -> bool {
    is_all(text, u8::is_ascii_digit) && (text == "0" || !text.starts_with('0'))
}

fn integer(text: &str) -> Result<Plain, Ambiguous> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let number = match text.parse::<u64>() {
        Ok(number) => Some(Number::from(number)),
        Err(_) => text.parse::<i64>().ok().map(Number::from),
    };
    number.map(Plain::Number).ok_or(Ambiguous::NotJson)
}

/// A float that both read: with a point, without superfluous zeros in front,
/// and with a sign in the exponent.
fn is_common_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let Some((whole, fraction)) = mantissa.split_once('.') else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_ok = digits(whole)
        && digits(fraction)
        && (whole == "0" || !whole.starts_with('0'))
        && !(whole.is_empty() && fraction.is_empty());
    let exponent_ok = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['+', '-'])
            .is_some_and(|digits| is_all(digits, u8::is_ascii_digit))
    });
    mantissa_ok && exponent_ok
}

/// `2026-07-28`, alone or with a time after it.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let after = rest.as_bytes().get(digits).copied();
    let number =
        |text: &str, longest: usize| text.len() <= longest && is_all(text, u8::is_ascii_digit);
    year.len() == 4
        && number(year, 4)
        && number(month, 2)
        && matches!(digits, 1 | 2)
        && matches!(after, None | Some(b'T' | b't' | b' ' | b'\t'))
}

/// `12:30`, `1:30:00` or `190:20:30.15`.
fn is_sexagesimal(text: &str) -> bool {
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let starts_as_number = first.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && is_all(first, |byte| byte.is_ascii_digit() || *byte == b'_');
    let mut more = false;
    starts_as_number
        && parts.all(|part| {
            more = true;
            is_all(part, |byte| {
                byte.is_ascii_digit() || matches!(byte, b'_' | b'.')
            })
        })
        && more
}

/// What is left of the numbers of either version, and of what popular readers
/// take for one: octal and binary, separators, leading zeros, hexadecimal with
/// a sign, exponents without a point or sign.
fn is_number_to_somebody(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return is_all(digits, |byte| byte.is_ascii_hexdigit() || *byte == b'_');
    }
    for prefix in ["0o", "0O", "0b", "0B"] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return is_all(digits, |byte| byte.is_ascii_digit() || *byte == b'_');
        }
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let mantissa_ok = mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && !mantissa.starts_with('_')
        && mantissa
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.'))
        && mantissa.bytes().filter(|byte| *byte == b'.').count() <= 1;
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        is_all(digits, |byte| byte.is_ascii_digit() || *byte == b'_')
    });
    mantissa_ok && exponent_ok
}

fn is_all(text: &str, accepted: impl Fn(&u8) -> bool) -> bool {
    !text.is_empty() && text.as_bytes().iter().all(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_versions_read_alike_is_read() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Ok(Plain::Null), "{text}");
        }
        for (text, value) in [("true", true), ("True", true), ("FALSE", false)] {
            assert_eq!(resolve(text), Ok(Plain::Bool(value)), "{text}");
        }
        for (text, value) in [
            ("0", 0_i64),
            ("8080", 8080),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("-0", 0),
        ] {
            assert_eq!(resolve(text), Ok(Plain::Number(value.into())), "{text}");
        }
        assert_eq!(
            resolve("18446744073709551615"),
            Ok(Plain::Number(u64::MAX.into()))
        );
        assert_eq!(
            resolve("-9223372036854775808"),
            Ok(Plain::Number(i64::MIN.into()))
        );
        for (text, value) in [("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1.5e+3", 1500.0)] {
            let number = Number::from_f64(value).expect("finite");
            assert_eq!(resolve(text), Ok(Plain::Number(number)), "{text}");
        }
    }

    #[test]
    fn text_is_text() {
        for text in [
            "mcp",
            "10s",
            "1m30s",
            "64Mi",
            "1.2.3",
            "127.0.0.1",
            "10.0.0.0/8",
            "a:b",
            "get_*",
            "https://a/b",
            "::1",
            "nope",
            "yes sir",
            "0xzz",
            "0xg",
            "e3",
            "1e",
            "1e+",
            ".",
            "..",
            "_1",
            "-",
            "+",
            "--1",
            "1-2",
            "2026-07",
            "2026-07-28x",
            "26-07-28",
            "12:ab",
            "12:",
            ":30",
            "trUE",
            "nULL",
            "0o",
            "0b",
            "x: y",
            "infinity",
            "nan",
            "1,000",
        ] {
            assert_eq!(resolve(text), Ok(Plain::Text), "{text}");
        }
    }

    #[test]
    fn what_the_versions_read_differently_must_be_quoted() {
        for text in [
            "y", "Y", "n", "N", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off",
            "Off", "OFF",
        ] {
            assert_eq!(resolve(text), Err(Ambiguous::Boolean), "{text}");
        }
        for text in [
            "010", "00", "08", "-010", "+07", "0o10", "0O7", "0b1", "0B01", "1_000", "1_0.5",
            "0x1_F", "-0x1F", "0X1F", "1e3", "1E3", "1e+3", "1.5e3", "00.5", "01e+1", "1_",
        ] {
            assert_eq!(resolve(text), Err(Ambiguous::Number), "{text}");
        }
        for text in [
            "12:30",
            "1:30:00",
            "190:20:30.15",
            "-1:30",
            "1_0:30",
            "0:0",
            "99:99",
        ] {
            assert_eq!(resolve(text), Err(Ambiguous::Sexagesimal), "{text}");
        }
        for text in [
            "2026-07-28",
            "2001-1-1",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14 21:59",
        ] {
            assert_eq!(resolve(text), Err(Ambiguous::Date), "{text}");
        }
        for text in [
            ".inf",
            ".Inf",
            "-.INF",
            "+.inf",
            ".nan",
            ".NaN",
            "18446744073709551616",
            "-9223372036854775809",
            "1.0e+999",
            "0x10000000000000000",
        ] {
            assert_eq!(resolve(text), Err(Ambiguous::NotJson), "{text}");
        }
        for text in ["<<", "="] {
            assert_eq!(resolve(text), Err(Ambiguous::Special), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn integers_are_read_as_they_are_written(number: i64) {
            proptest::prop_assert_eq!(
                resolve(&number.to_string()),
                Ok(Plain::Number(number.into()))
            );
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = resolve(&text);
        }
    }
}
