use std::net::{Ipv4Addr, TcpListener};

use proptest::prelude::*;

use super::*;

const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode\n";

fn line(address: SocketAddr, state: &str, user: u32) -> String {
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let ip: String = match address.ip() {
        IpAddr::V4(ip) => word(ip.octets()),
        IpAddr::V6(ip) => {
            let octets = ip.octets();
            let words = octets.chunks_exact(4);
            words.map(|it| word(it.try_into().unwrap())).collect()
        }
    };
    let none = "0".repeat(ip.len());
    format!(
        "   0: {ip}:{:04X} {none}:0000 {state} 00000000:00000000 00:00000000 00000000 {user:>5} \
         0 1526 1 0000000014a09993 100 0 0 10 0\n",
        address.port()
    )
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn foreign(address: &str, user_id: u32) -> ForeignListener {
    let address = at(address);
    ForeignListener { address, user_id }
}

fn own(addresses: &[&str]) -> Own {
    Own {
        addresses: addresses.iter().map(|it| at(it)).collect(),
        user_id: 65532,
        server_ports: BTreeSet::from([8080]),
    }
}

#[cfg(target_endian = "little")]
#[test]
fn lines_of_a_real_table_are_read() {
    let tcp = format!(
        "{HEAD}   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  \
         0 1526 1 0000000014a09993 100 0 0 10 0\n   1: 0100007F:B13F 0100007F:E6A8 06 \
         00000000:00000000 03:000013D5 00000000     0        0 0 3 000000006985683d\n   2: \
         0701000A:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532 0 7 1\n"
    );
    let tcp6 = format!(
        "{HEAD}   0: 0000000000000000FFFF00000701000A:1F91 00000000000000000000000000000000:0000 \
         0A 00000000:00000000 00:00000000 00000000  1000        0 9 1 x\n   1: \
         B80D0120000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A \
         00000000:00000000 00:00000000 00000000  1000        0 9 1 x\n"
    );
    let found = foreign_in(&tcp, &tcp6, &own(&["10.0.1.7:8080"]));
    let expected = [
        foreign("0.0.0.0:2024", 1000),
        foreign("10.0.1.7:8081", 1000),
        foreign("[2001:db8::1]:8082", 1000),
    ];
    assert_eq!(found, expected);
}

#[test]
fn ours_is_what_has_our_address_and_our_user() {
    let table = |user| line(at("10.0.0.7:8080"), LISTENING, user);
    assert_eq!(foreign_in(&table(65532), "", &own(&["10.0.0.7:8080"])), []);
    let theirs = [foreign("10.0.0.7:8080", 1)];
    assert_eq!(foreign_in(&table(1), "", &own(&["10.0.0.7:8080"])), theirs);
    let other = [foreign("10.0.0.7:8080", 65532)];
    assert_eq!(
        foreign_in(&table(65532), "", &own(&["10.0.0.7:8081"])),
        other
    );
}

#[test]
fn loopback_and_what_does_not_listen_is_left_out() {
    for (address, state) in [
        ("127.0.0.1:1", LISTENING),
        ("127.9.9.9:1", LISTENING),
        ("[::1]:1", LISTENING),
        ("[::ffff:127.0.0.1]:1", LISTENING),
        ("10.0.0.7:1", "01"),
        ("0.0.0.0:1", "07"),
    ] {
        let table = line(at(address), state, 1);
        assert_eq!(
            foreign_in(&table, &table, &own(&[])),
            [],
            "{address} {state}"
        );
    }
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.7:1", "[fd00::7]:1"] {
        let table = line(at(address), LISTENING, 1);
        assert_eq!(foreign_in("", &table, &own(&[])), [foreign(address, 1)]);
    }
}

#[test]
fn the_number_has_a_bound_on_both_sides_and_servers_come_first() {
    let many = |count: usize| -> String {
        let ports = (1..)
            .take(count)
            .map(|port| SocketAddr::from(([10, 0, 0, 7], port)));
        ports.map(|address| line(address, LISTENING, 1)).collect()
    };
    assert_eq!(
        foreign_in(&many(MAX_LISTENERS), "", &own(&[])).len(),
        MAX_LISTENERS
    );
    let more = many(MAX_LISTENERS + 1);
    assert_eq!(foreign_in(&more, "", &own(&[])).len(), MAX_LISTENERS);

    let on_servers_port = ["[::]:8080", "10.0.0.9:8080"].map(at);
    let last: String = on_servers_port.map(|it| line(it, LISTENING, 1)).concat();
    let found = foreign_in(&more, &last, &own(&[]));
    assert_eq!(found.len(), MAX_LISTENERS);
    assert!(found.is_sorted());
    for address in on_servers_port {
        assert!(found.iter().any(|it| it.address == address), "{address}");
    }
    let wildcard = line(at("[::]:9"), LISTENING, 1);
    assert!(foreign_in(&more, &wildcard, &own(&[])).contains(&foreign("[::]:9", 1)));
}

#[test]
fn the_table_of_this_machine_has_what_listens_here() {
    let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let address = everywhere.local_addr().unwrap();
    let user_id = rustix::process::geteuid().as_raw();
    let here = Own {
        user_id,
        server_ports: BTreeSet::from([address.port()]),
        ..Own::default()
    };
    let listener = ForeignListener { address, user_id };
    assert!(foreign_listeners(&here).unwrap().contains(&listener));
    let ours = Own {
        addresses: BTreeSet::from([address]),
        ..here.clone()
    };
    assert!(!foreign_listeners(&ours).unwrap().contains(&listener));
    drop(everywhere);
    assert!(!foreign_listeners(&here).unwrap().contains(&listener));
}

proptest! {
    #[test]
    fn what_the_kernel_prints_is_read_back(ip in any::<IpAddr>(), port in any::<u16>(), user in any::<u32>()) {
        let address = SocketAddr::new(ip, port);
        let read = listener(&line(address, LISTENING, user)).unwrap();
        prop_assert_eq!(read.address, SocketAddr::new(ip.to_canonical(), port));
        prop_assert_eq!(read.user_id, user);
    }

    #[test]
    fn any_line_is_answered(text in any::<String>(), head in "[0-9A-F:é ]{0,60}") {
        let _ = (listener(&text), socket_address(&head));
        let _ = foreign_in(&text, &head, &own(&[]));
    }
}
