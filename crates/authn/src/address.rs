//! Which addresses key sets may be fetched from.
//!
//! A host name is judged by the addresses that it resolves to, when it is
//! dialled, and the very address that was judged is dialled: a name that
//! answers differently the second time gains nothing. Private ranges are
//! allowed, since issuers run in clusters too; what only the machine itself or
//! its cloud answers at is not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a connection to this address may be opened. `allow_loopback` is for
/// running from files only.
pub(crate) fn is_permitted(address: IpAddr, allow_loopback: bool) -> bool {
    if address.is_loopback() {
        return allow_loopback;
    }
    match address {
        IpAddr::V4(address) => is_permitted_v4(address),
        IpAddr::V6(address) => is_permitted_v6(address),
    }
}

fn is_permitted_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    let reserved = first == 0 // "this network", RFC 1122
        || first == 127
        || first >= 240 // RFC 1112, and broadcast
        || address.is_link_local() // metadata of most clouds
        || address.is_multicast()
        || in_v4(address, [192, 0, 0, 0], 24); // RFC 6890
    !reserved && !METADATA_V4.contains(&address)
}

fn is_permitted_v6(address: Ipv6Addr) -> bool {
    if in_v6(address, [0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
        // RFC 6052 3.1: only public addresses may be embedded.
        let [.., a, b, c, d] = address.octets();
        let embedded = Ipv4Addr::new(a, b, c, d);
        return is_permitted_v4(embedded) && !is_private_v4(embedded);
    }
    !DENIED_V6
        .into_iter()
        .any(|(network, length)| in_v6(address, network, length))
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    address.is_private() || in_v4(address, [100, 64, 0, 0], 10)
}

fn in_v4(address: Ipv4Addr, network: [u8; 4], length: u32) -> bool {
    let differing = u32::from(address) ^ u32::from_be_bytes(network);
    differing.leading_zeros() >= length
}

fn in_v6(address: Ipv6Addr, network: [u16; 8], length: u32) -> bool {
    let differing = u128::from(address) ^ u128::from(Ipv6Addr::from(network));
    differing.leading_zeros() >= length
}

/// Metadata services outside the link-local range: Alibaba Cloud, and the host
/// agent of Azure.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Addresses of the machine or the link, of metadata services, and every form
/// that only carries an IPv4 address: a resolver answers with those itself.
const DENIED_V6: [([u16; 8], u32); 11] = [
    // Unspecified, loopback, IPv4-compatible (RFC 4291 2.5.5.1).
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),
    // IPv4-mapped, and the translated form of RFC 2765.
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    // NAT64 for local use, RFC 8215.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    // Teredo and 6to4.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    // Metadata of Amazon EC2 and of Google Compute Engine.
    ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
    ([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32),
    // Link-local, site-local, multicast.
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::{Host, Url};

    use super::*;

    fn permitted(address: &str) -> bool {
        is_permitted(address.parse().expect("an address"), false)
    }

    #[test]
    fn idp_012_014_addresses_of_the_machine_and_its_cloud_are_denied() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "169.254.0.0",
            "169.254.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:8.8.8.8",
            "::ffff:0:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b::6440:1",
            "64:ff9b:1::",
            "64:ff9b:1:ffff::a9fe:a9fe",
            "2001::1",
            "2002:a9fe:a9fe::",
            "2002:808:808::1",
            "fe80::1",
            "febf:ffff::1",
            "fec0::",
            "feff::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "ff02::1",
        ] {
            assert!(!permitted(address), "{address}");
        }
    }

    #[test]
    fn public_and_cluster_addresses_are_permitted() {
        for address in [
            "8.8.8.8",
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "192.0.1.1",
            "223.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "fd00:1::1",
            "fc00::1",
            "64:ff9b::808:808",
        ] {
            assert!(permitted(address), "{address}");
        }
    }

    #[test]
    fn loopback_is_permitted_only_when_asked_for() {
        for address in ["127.0.0.1", "127.1.2.3", "::1"] {
            let address = address.parse().expect("an address");
            assert!(
                is_permitted(address, true) && !is_permitted(address, false),
                "{address}"
            );
        }
        let denied = [
            "0.0.0.0",
            "169.254.169.254",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "::",
        ];
        for address in denied {
            assert!(
                !is_permitted(address.parse().expect("an address"), true),
                "{address}"
            );
        }
    }

    #[test]
    fn idp_013_spellings_of_an_address_are_judged_alike() {
        for host in [
            "2130706433",
            "0177.0.0.1",
            "0x7f.1",
            "127.1",
            "127.0.0.1.",
            "１２７.0.0.1",
            "169.254.169.254.",
            "0xA9FEA9FE",
            "2852039166",
            "[::ffff:169.254.169.254]",
        ] {
            let url = Url::parse(&format!("https://{host}/jwks")).expect("a URL");
            let address = match url.host().expect("a host") {
                Host::Ipv4(address) => IpAddr::V4(address),
                Host::Ipv6(address) => IpAddr::V6(address),
                Host::Domain(name) => panic!("`{host}` was read as the name `{name}`"),
            };
            assert!(!is_permitted(address, false), "{host}");
        }
    }

    proptest! {
        #[test]
        fn an_embedded_address_never_reaches_more_than_the_address_itself(embedded: [u8; 4]) {
            let [a, b, c, d] = embedded;
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let plain = is_permitted(Ipv4Addr::from(embedded).into(), false);
            for carrier in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert!(plain || !is_permitted(carrier.into(), false), "{}", carrier);
            }
        }
    }
}
