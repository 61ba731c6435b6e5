use proptest::prelude::*;

use super::pki::subject;
use crate::{InvalidSubject, MAX_DNS_NAMES, Subject, Usages, is_dns_name};

fn with_names(names: &[&str]) -> Result<(), InvalidSubject> {
    let wanted = Subject {
        dns_names: names.iter().map(|&name| name.to_owned()).collect(),
        ..subject()
    };
    wanted.params().map(drop)
}

#[test]
fn dns_names_are_those_of_rfc_1123_in_lower_case() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    for name in [
        "localhost",
        "a.b",
        "1.example",
        "x-1.svc.cluster.local",
        "*.example",
        "*.a.svc.cluster.local",
        "xn--bcher-kva.example",
        "0.a",
        "a.0a",
        &label,
        &longest,
    ] {
        assert_eq!(with_names(&[name]), Ok(()), "{name}");
        assert_eq!(is_dns_name(name), !name.starts_with('*'), "{name}");
    }
    let too_long_label = "a".repeat(64);
    let too_long = format!("{longest}a");
    for name in [
        "",
        ".",
        "*",
        "*.",
        "*.*.example",
        "a.*.example",
        "a*.example",
        "a.example.",
        ".example",
        "a..b",
        "-a.example",
        "a-.example",
        "A.example",
        "a_b.example",
        "bücher.example",
        "a b",
        "a\0.example",
        "a.example\n",
        "https://a.example",
        "a.example:443",
        "127.0.0.1",
        "0",
        "a.1",
        "1.2.3.4.5",
        "*.1.2.3.4",
        "::1",
        &too_long_label,
        &too_long,
    ] {
        let invalid = InvalidSubject::DnsName(name.to_owned());
        assert_eq!(with_names(&["a.example", name]), Err(invalid), "{name}");
        assert!(!is_dns_name(name), "{name}");
    }
}

#[test]
fn dns_names_are_counted() {
    let names: Vec<_> = (0..=MAX_DNS_NAMES)
        .map(|n| format!("n{n}.example"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(with_names(&names[..MAX_DNS_NAMES]), Ok(()));
    assert_eq!(with_names(&names), Err(InvalidSubject::TooManyNames));
}

#[test]
fn a_server_has_a_name() {
    let without = |usages| Subject {
        dns_names: Vec::new(),
        usages,
        ..subject()
    };
    let of = |usages| without(usages).params().map(drop);
    assert_eq!(of(Usages::Server), Err(InvalidSubject::NoName));
    assert_eq!(of(Usages::Client), Ok(()));
    // A workload without a Service is a client.
    assert_eq!(of(Usages::Both), Ok(()));
}

proptest! {
    #[test]
    fn no_name_panics_and_what_passes_is_plain(name in "\\PC*|[a-c*.-]{0,12}") {
        if with_names(&[&name]).is_ok() {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
            let webpki = rustls_pki_types::DnsName::try_from(name.trim_start_matches("*."));
            prop_assert!(webpki.is_ok(), "{name}");
        }
    }
}
