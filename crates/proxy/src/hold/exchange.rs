//! How sockets cross: lines of text, each socket's descriptor beside the line
//! with its address.
//!
//! ```text
//! sidegate-hold/1 8080 8081
//! 10.0.0.7:8080
//! 10.0.0.7:8081
//! end
//! ```
//!
//! The first line names every port that is to be held, whether it is or not. A
//! sidecar that gives sockets back uses the same form and names no port.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

const GREETING: &str = "sidegate-hold/1";
const END: &str = "end";
/// Most sockets that one side takes: ports times addresses.
const MAX_SOCKETS: usize = 512;
const MAX_TEXT: usize = 32 * 1024;
/// Descriptors in one read; a line carries one.
const FDS_AT_ONCE: usize = 16;

/// What one side hands to the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandOver {
    /// The ports that are to be held.
    pub(crate) ports: BTreeSet<u16>,
    /// Bound, listening sockets.
    pub(crate) sockets: BTreeMap<SocketAddr, Arc<TcpListener>>,
}

/// Sends sockets; they stay open here, too.
pub(super) async fn send(peer: &UnixStream, handed: &HandOver) -> io::Result<()> {
    let ports = handed.ports.iter().map(|port| format!(" {port}"));
    let greeting: String = [GREETING.to_owned()].into_iter().chain(ports).collect();
    send_line(peer, &greeting, None).await?;
    for (address, socket) in &handed.sockets {
        send_line(peer, &address.to_string(), Some(socket.as_fd())).await?;
    }
    send_line(peer, END, None).await
}

async fn send_line(peer: &UnixStream, line: &str, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let line = format!("{line}\n");
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if fd.is_some() {
            beside.push(SendAncillaryMessage::ScmRights(fd.as_slice()));
        }
        let text = [IoSlice::new(line.as_bytes())];
        Ok(sendmsg(peer, &text, &mut beside, SendFlags::NOSIGNAL)?)
    };
    // The kernel takes such a short line whole or not at all.
    match peer.async_io(Interest::WRITABLE, send).await? {
        sent if sent == line.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives sockets to the end of the message.
///
/// # Errors
/// `UnexpectedEof` when the other side goes, `InvalidData` for anything but
/// listening sockets at the addresses that are named.
pub(super) async fn receive(peer: &UnixStream) -> io::Result<HandOver> {
    let mut text = String::new();
    let mut descriptors = Vec::new();
    while !is_whole(&text) {
        let (read, more) = peer.async_io(Interest::READABLE, || read(peer)).await?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.push_str(&read);
        descriptors.extend(more);
        if text.len() > MAX_TEXT || descriptors.len() > MAX_SOCKETS {
            return Err(invalid("too much"));
        }
    }
    let (ports, addresses) = parse(&text).map_err(invalid)?;
    if addresses.len() != descriptors.len() {
        return Err(invalid("not one socket for each address"));
    }
    let mut sockets = BTreeMap::new();
    for (address, descriptor) in addresses.into_iter().zip(descriptors) {
        sockets.insert(address, Arc::new(listening_at(address, descriptor)?));
    }
    Ok(HandOver { ports, sockets })
}

fn read(peer: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        peer,
        &mut [IoSliceMut::new(&mut text)],
        &mut beside,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(invalid("too many sockets at once"));
    }
    let text = text.get(..received.bytes).unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) if text.is_ascii() => Ok((text.to_owned(), descriptors)),
        _ => Err(invalid("not a text")),
    }
}

fn is_whole(text: &str) -> bool {
    text.ends_with("\nend\n")
}

/// The ports and addresses of a whole message.
fn parse(text: &str) -> Result<(BTreeSet<u16>, Vec<SocketAddr>), &'static str> {
    let mut lines = text.lines();
    let ports = lines
        .next()
        .and_then(|line| line.strip_prefix(GREETING))
        .ok_or("not a `sidegate hold` of this version")?;
    let ports: Result<BTreeSet<u16>, _> = ports.split_whitespace().map(str::parse).collect();
    let ports = ports.map_err(|_| "not a port")?;
    let mut addresses = Vec::new();
    for line in lines.by_ref() {
        if line == END {
            return match lines.next() {
                None => Ok((ports, addresses)),
                Some(_) => Err("more after the end"),
            };
        }
        addresses.push(line.parse().map_err(|_| "not an address")?);
    }
    Err("no end")
}

/// A received descriptor, if it is what it is said to be.
fn listening_at(address: SocketAddr, descriptor: OwnedFd) -> io::Result<TcpListener> {
    let listens = rustix::net::sockopt::socket_acceptconn(&descriptor).unwrap_or(false);
    let listener = TcpListener::from(descriptor);
    match listener.local_addr() {
        Ok(local) if listens && local == address => Ok(listener),
        Ok(_) | Err(_) => Err(invalid("not a socket that listens where it should")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn listening() -> (SocketAddr, Arc<TcpListener>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        (listener.local_addr().unwrap(), Arc::new(listener))
    }

    fn handed(sockets: usize) -> HandOver {
        HandOver {
            ports: BTreeSet::from([8080, 8081]),
            sockets: (0..sockets).map(|_| listening()).collect(),
        }
    }

    #[tokio::test]
    async fn sockets_arrive_at_their_addresses() {
        let (here, there) = UnixStream::pair().unwrap();
        for count in [0, 1, 40] {
            let handed = handed(count);
            let (sent, received) = tokio::join!(send(&here, &handed), receive(&there));
            sent.unwrap();
            let received = received.unwrap();
            assert_eq!(received.ports, handed.ports);
            assert!(received.sockets.keys().eq(handed.sockets.keys()), "{count}");
        }
    }

    async fn receiving(lines: &[(&str, Option<BorrowedFd<'_>>)]) -> io::Error {
        let (here, there) = UnixStream::pair().unwrap();
        for (line, fd) in lines {
            send_line(&here, line, *fd).await.unwrap();
        }
        drop(here);
        receive(&there).await.unwrap_err()
    }

    #[tokio::test]
    async fn anything_but_the_named_sockets_is_refused() {
        let (address, socket) = listening();
        let (other, _socket) = listening();
        let (address, other) = (address.to_string(), other.to_string());
        let fd = Some(socket.as_fd());
        let plain = std::fs::File::open("/dev/null").unwrap();
        let udp = std::net::UdpSocket::bind(&address).unwrap();
        let greeting = (GREETING, None);
        let end = (END, None);
        for lines in [
            &[greeting, (&address, None), end][..],
            &[greeting, ("", fd), end],
            &[greeting, (&other, fd), end],
            &[greeting, (&address, Some(plain.as_fd())), end],
            &[greeting, (&address, Some(udp.as_fd())), end],
            &[("sidegate-hold/2", None), (&address, fd), end],
        ] {
            assert_eq!(receiving(lines).await.kind(), io::ErrorKind::InvalidData);
        }
        let cut = receiving(&[greeting, (&address, fd)]).await;
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_text_without_an_end_is_bounded() {
        let line = "x".repeat(999);
        let lines = vec![(line.as_str(), None); MAX_TEXT / 1000 + 1];
        assert_eq!(receiving(&lines).await.kind(), io::ErrorKind::InvalidData);
    }

    fn text(ports: &BTreeSet<u16>, addresses: &[SocketAddr]) -> String {
        let ports: String = ports.iter().map(|port| format!(" {port}")).collect();
        let addresses: String = addresses.iter().map(|it| format!("{it}\n")).collect();
        format!("{GREETING}{ports}\n{addresses}{END}\n")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ports in prop::collection::btree_set(any::<u16>(), 0..5),
            addresses in prop::collection::vec(any::<SocketAddr>(), 0..5),
        ) {
            // The text of a link-local scope is not ours to keep.
            let addresses: Vec<SocketAddr> = addresses
                .into_iter()
                .map(|it| SocketAddr::new(it.ip(), it.port()))
                .collect();
            let text = text(&ports, &addresses);
            prop_assert!(is_whole(&text));
            prop_assert_eq!(parse(&text), Ok((ports, addresses)));
            let beginnings = text.char_indices().map(|(end, _)| text.split_at(end).0);
            for beginning in beginnings {
                prop_assert!(!is_whole(beginning));
            }
        }

        #[test]
        fn any_text_is_answered(text in "[ -~\\n]{0,80}") {
            let _ = (is_whole(&text), parse(&text));
        }
    }
}
