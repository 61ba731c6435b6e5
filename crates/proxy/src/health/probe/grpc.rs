//! `grpc.health.v1.Health/Check` over HTTP/2 without TLS.
//!
//! One call of two messages with one field each, so it is written by hand:
//! `HealthCheckRequest{1: string service}` and `HealthCheckResponse{1: enum
//! status}`.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Driven, Failure, Outcome, connect};

const AGENT: &str = "kube-probe/sidegate";
const MAX_ANSWER: usize = 16 * 1024;
/// The value of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// Good is the status `SERVING`.
pub(super) async fn check(port: u16, service: Option<&str>) -> Outcome {
    let request = request(port, service).ok_or(Failure::Unsendable)?;
    let stream = connect(port).await?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failure::NoAnswer)?;
    let _driven = Driven::start(connection);
    let answer = sender.send_request(request).await;
    let (head, mut body) = answer.map_err(|_| Failure::NoAnswer)?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Failure::Status(head.status.as_u16()));
    }
    if let Some(status) = grpc_status(&head.headers) {
        // An answer without a message; it can only be an error.
        return Err(failed(status));
    }
    let mut message = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::NoAnswer)?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() <= MAX_ANSWER => {
                message.extend_from_slice(&data);
            }
            Ok(_) => return Err(Failure::NoAnswer),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    match grpc_status(&trailers) {
        Some(0) => {}
        Some(status) => return Err(failed(status)),
        None => return Err(Failure::NoAnswer),
    }
    match serving_status(&message) {
        Some(SERVING) => Ok(()),
        Some(_) => Err(Failure::NotServing),
        None => Err(Failure::NoAnswer),
    }
}

fn request(port: u16, service: Option<&str>) -> Option<Request<Full<Bytes>>> {
    let uri = format!("http://127.0.0.1:{port}/grpc.health.v1.Health/Check");
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .body(Full::new(request_message(service)?))
        .ok()
}

/// A frame of gRPC around the message: no compression, its length.
fn request_message(service: Option<&str>) -> Option<Bytes> {
    let mut message = Vec::new();
    // A default value is not written.
    if let Some(service) = service.filter(|service| !service.is_empty()) {
        message.push(0x0a);
        push_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).ok()?;
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    Some(frame.into())
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn failed(status: u32) -> Failure {
    match status {
        0 => Failure::NoAnswer,
        status => Failure::Grpc(status),
    }
}

/// The status in a framed `HealthCheckResponse`; none when it is not one.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (compressed, rest) = frame.split_first()?;
    let (length, mut message) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if *compressed != 0 || message.len() != length {
        return None;
    }
    // A field that is not written has its default value, UNKNOWN.
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => drop(take_varint(&mut message)?),
            (_, 1) => skip(&mut message, 8)?,
            (_, 2) => {
                let length = take_varint(&mut message)?;
                skip(&mut message, usize::try_from(length).ok()?)?;
            }
            (_, 5) => skip(&mut message, 4)?,
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(message: &mut &[u8], bytes: usize) -> Option<()> {
    *message = message.get(bytes..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, message.len() as u8];
        frame.extend_from_slice(message);
        frame
    }

    #[test]
    fn the_request_is_what_a_grpc_server_reads() {
        assert_eq!(request_message(None).unwrap().as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(request_message(Some("")), request_message(None));
        let named = request_message(Some("mcp")).unwrap();
        assert_eq!(named.as_ref(), b"\0\0\0\0\x05\x0a\x03mcp");
        let long = "x".repeat(300);
        let named = request_message(Some(&long)).unwrap();
        assert_eq!(named[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn the_status_is_found_among_other_fields() {
        for (message, status) in [
            (&[0x08, 0x01][..], Some(1)),
            (&[0x08, 0x02], Some(2)),
            (&[], Some(0)),
            (&[0x12, 0x02, 0x08, 0x01, 0x08, 0x03], Some(3)),
            (
                &[
                    0x15, 1, 2, 3, 4, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x20, 0x96, 0x01, 0x08, 0x01,
                ],
                Some(1),
            ),
            (&[0x08], None),
            (&[0x12, 0x05, 0x01], None),
            (&[0x0b], None),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
                None,
            ),
        ] {
            assert_eq!(serving_status(&framed(message)), status, "{message:?}");
        }
        assert_eq!(
            serving_status(&[1, 0, 0, 0, 2, 0x08, 0x01]),
            None,
            "compressed"
        );
        assert_eq!(serving_status(&[0, 0, 0, 0, 3, 0x08, 0x01]), None, "cut");
        assert_eq!(serving_status(&[0, 0, 0, 0, 1, 0x08, 0x01]), None, "more");
    }

    proptest! {
        #[test]
        fn varints_survive(value in any::<u64>()) {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = serving_status(&bytes);
            let _ = serving_status(&framed(&bytes));
        }
    }
}
