//! What stands behind a flag, read and checked.

use std::net::SocketAddr;
use std::time::Duration;

use sidegate_policy::principal::SpiffeId;

/// A trust domain (SPIFFE id, section 2.1).
pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    match format!("spiffe://{text}").parse::<SpiffeId>() {
        Ok(id) if id.trust_domain() == text => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(format!(
            "`{text}` is not a trust domain, such as cluster.local"
        )),
    }
}

pub(super) fn named_address(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("expected NAME=ADDRESS:PORT, for example support=127.0.0.1:18080")?;
    let address = address.parse().map_err(|_| {
        format!("`{address}` is not an address with a port, such as 127.0.0.1:18080")
    })?;
    Ok((name.to_owned(), address))
}

/// The admin port shows the configuration and can stop the sidecar.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("`{text}` is not an address with a port, such as 127.0.0.1:15020"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the admin port is for this machine only: use a loopback address".to_owned())
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text);
    seconds
        .parse()
        .map(Duration::from_secs)
        .map_err(|_| format!("`{text}` is not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_in_seconds() {
        assert_eq!(seconds("40"), Ok(Duration::from_secs(40)));
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert!(seconds("-1").is_err());
    }
}
