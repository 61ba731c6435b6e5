use sidegate_config::sidecar_config::{Exposure, IdentityHeaders, UpstreamHost};

use super::*;

fn server(name: &str, port: u16, listen_port: u16) -> ServerConfig {
    ServerConfig {
        name: name.to_owned(),
        port,
        path: "/mcp".to_owned(),
        listen_port,
        exposure: if port == listen_port {
            Exposure::SamePort
        } else {
            Exposure::SeparatePort
        },
        resources: vec![],
        hosts: vec![],
        accept_service_hosts: false,
        allowed_origins: vec![],
        upstream_host: UpstreamHost::Loopback,
        keep_authorization: false,
        identity_headers: IdentityHeaders::default(),
    }
}

fn pod() -> Result<Vec<IpAddr>, NoMachineAddress> {
    Ok(vec![
        "10.1.2.3".parse().expect("address"),
        "fd00::3".parse().expect("address"),
    ])
}

fn planned(servers: &[ServerConfig], options: &ListenOptions) -> Result<Vec<String>, ListenError> {
    let wanted = plan(servers, options, pod)?;
    Ok(wanted
        .iter()
        .map(|wanted| format!("{}={}", wanted.name, wanted.address))
        .collect())
}

fn bind(address: &str) -> ListenOptions {
    ListenOptions {
        bind: Some(address.parse().expect("address")),
        ..ListenOptions::default()
    }
}

fn listen(name: &str, address: &str) -> ListenOptions {
    let listen = [(name.to_owned(), address.parse().expect("address"))].into();
    ListenOptions {
        listen,
        ..ListenOptions::default()
    }
}

#[test]
fn by_default_every_pod_address_is_taken() {
    let servers = [server("a", 8080, 8080), server("b", 8081, 9081)];
    let expected = [
        "a=10.1.2.3:8080",
        "a=[fd00::3]:8080",
        "b=10.1.2.3:9081",
        "b=[fd00::3]:9081",
    ];
    assert_eq!(
        planned(&servers, &ListenOptions::default()).expect("planned"),
        expected
    );
}

#[test]
fn the_options_choose_addresses() {
    let servers = [server("a", 8080, 8080), server("b", 8081, 9081)];
    let expected = ["a=10.9.9.9:8080", "b=10.9.9.9:9081"];
    assert_eq!(
        planned(&servers, &bind("10.9.9.9")).expect("planned"),
        expected
    );
    let options = ListenOptions {
        bind: bind("10.9.9.9").bind,
        ..listen("a", "127.0.0.1:0")
    };
    let expected = ["a=127.0.0.1:0", "b=10.9.9.9:9081"];
    assert_eq!(planned(&servers, &options).expect("planned"), expected);
}

#[test]
fn the_machine_is_asked_only_when_needed() {
    let options = listen("a", "127.0.0.1:18080");
    let none = || Err(NoMachineAddress::OnlyLoopback);
    assert!(plan(&[server("a", 8080, 8080)], &options, none).is_ok());
    assert!(plan(&[server("a", 8080, 8080)], &ListenOptions::default(), none).is_err());
}

#[test]
fn the_servers_own_address_is_refused() {
    let servers = [server("a", 8080, 8080)];
    let own = [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
    ];
    for address in own {
        let refused = planned(&servers, &bind(address));
        assert!(
            matches!(refused, Err(ListenError::ServersOwnAddress { .. })),
            "{address}"
        );
    }
    let refused = planned(&servers, &listen("a", "127.0.0.1:8080"));
    let text = refused.expect_err("refused").to_string();
    assert!(
        text.contains("`a`") && text.contains("--listen a="),
        "{text}"
    );

    assert!(planned(&servers, &listen("a", "127.0.0.1:18080")).is_ok());
    assert!(
        planned(&[server("a", 8080, 9080)], &bind("127.0.0.1")).is_ok(),
        "another port"
    );
}

#[test]
fn an_override_must_name_a_server() {
    let refused = planned(&[server("a", 8080, 8080)], &listen("b", "127.0.0.1:1"));
    assert!(matches!(refused, Err(ListenError::UnknownName(name)) if name == "b"));
}

#[test]
fn a_port_that_the_server_took_is_explained() {
    let taken = Wanted {
        name: "a".to_owned(),
        server_port: 8080,
        address: "10.1.2.3:8080".parse().expect("address"),
    };
    let text = ListenError::bind(taken, io::ErrorKind::AddrInUse.into()).to_string();
    assert!(text.contains("must listen on 127.0.0.1"), "{text}");
}
