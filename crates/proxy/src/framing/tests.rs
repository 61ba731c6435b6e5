use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::watch::{End, Seen, Watch};
use super::{Fault, FramedIo, FramingFault, MAX_HEAD_BYTES};
use crate::connection::activity::Activity;

/// Pushes `input` in one piece.
fn verdict(input: &[u8]) -> Seen {
    Watch::new().push(input)
}

/// Pushes `input` in pieces of the given sizes, then the rest in one piece.
fn verdict_in_pieces(input: &[u8], sizes: &[usize]) -> Seen {
    let mut watch = Watch::new();
    let mut passed = 0;
    let mut rest = input;
    for size in sizes.iter().copied().chain([input.len()]) {
        let piece = &rest[..size.min(rest.len())];
        let seen = watch.push(piece);
        passed += seen.passed;
        if seen.end.is_some() {
            return Seen {
                passed,
                end: seen.end,
            };
        }
        assert_eq!(
            seen.passed,
            piece.len(),
            "all of it passes unless the input ends"
        );
        rest = &rest[piece.len()..];
    }
    Seen { passed, end: None }
}

fn post(headers: &str) -> Vec<u8> {
    format!("POST /mcp HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
}

#[test]
fn good_messages_pass_whole() {
    let good: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t 3 \r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000001\r\na\r\n000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: \xe2\x82\xac\r\nEmpty:\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for message in good {
        let text = String::from_utf8_lossy(message);
        assert_eq!(
            verdict(message),
            Seen {
                passed: message.len(),
                end: None
            },
            "{text}"
        );
        let twice = [*message, *message].concat();
        let mut watch = Watch::new();
        assert_eq!(
            watch.push(&twice),
            Seen {
                passed: twice.len(),
                end: None
            },
            "{text}"
        );
        assert!(watch.between_messages(), "{text}");
        assert_eq!(watch.heads_before_end(), 2, "{text}");
    }
}

#[test]
fn bad_heads_end_the_input_behind_the_head() {
    let table: &[(&[u8], Fault)] = &[
        (
            &post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
            Fault::LengthAndTransferEncoding,
        ),
        (
            &post("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"),
            Fault::LengthAndTransferEncoding,
        ),
        (
            &post("Content-Length: 7\r\nContent-Length: 3\r\n"),
            Fault::RepeatedContentLength,
        ),
        (
            &post("Content-Length: 7\r\nContent-Length: 7\r\n"),
            Fault::RepeatedContentLength,
        ),
        (&post("Content-Length: 7, 7\r\n"), Fault::ContentLength),
        (&post("Content-Length: +7\r\n"), Fault::ContentLength),
        (&post("Content-Length: -7\r\n"), Fault::ContentLength),
        (&post("Content-Length: 0x7\r\n"), Fault::ContentLength),
        (&post("Content-Length:\r\n"), Fault::ContentLength),
        (&post("Content-Length: 1 1\r\n"), Fault::ContentLength),
        (
            &post("Content-Length: 1000000000000000000\r\n"),
            Fault::ContentLength,
        ),
        (
            &post("Transfer-Encoding: gzip, chunked\r\n"),
            Fault::TransferEncoding,
        ),
        (
            &post("Transfer-Encoding: chunked, chunked\r\n"),
            Fault::TransferEncoding,
        ),
        (
            &post("Transfer-Encoding: identity\r\n"),
            Fault::TransferEncoding,
        ),
        (
            &post("Transfer-Encoding: \"chunked\"\r\n"),
            Fault::TransferEncoding,
        ),
        (
            &post("Transfer-Encoding: xchunked\r\n"),
            Fault::TransferEncoding,
        ),
        (&post("Transfer-Encoding:\r\n"), Fault::TransferEncoding),
        (
            &post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Fault::RepeatedTransferEncoding,
        ),
        (
            &post("Transfer-Encoding : chunked\r\n"),
            Fault::SpaceBeforeColon,
        ),
        (
            &post("Transfer-Encoding\t: chunked\r\n"),
            Fault::SpaceBeforeColon,
        ),
        (&post("X: a\r\n b\r\n"), Fault::ObsoleteFold),
        (&post("X: a\r\n\tb\r\n"), Fault::ObsoleteFold),
        (&post("X: a\0b\r\n"), Fault::ControlCharacter),
        (&post("X: a\x7fb\r\n"), Fault::ControlCharacter),
        (
            &post("Transfer-Encoding: \x0bchunked\r\n"),
            Fault::ControlCharacter,
        ),
        (&post("X: a\rb\r\n"), Fault::BareCarriageReturn),
        (&post("X: a\nY: b\r\n"), Fault::BareLineFeed),
        (&post("no colon\r\n"), Fault::HeaderName),
        (&post(": empty\r\n"), Fault::HeaderName),
        (&post("a b: c\r\n"), Fault::HeaderName),
        (&post("X@: c\r\n"), Fault::HeaderName),
        (&post("Host: b\r\n"), Fault::RepeatedHost),
        (b"GET / HTTP/1.1\r\n\r\n", Fault::MissingHost),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
            Fault::BareLineFeed,
        ),
        (b"GET / HTTP/1.1\nHost: a\n\n", Fault::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Fault::BareLineFeed),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLineFeed),
        (
            b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            Fault::BareCarriageReturn,
        ),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b" / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (b"GET /\r\nHost: a\r\n\r\n", Fault::RequestLine),
        (
            b"POST / HTTP/1.0\r\nHost: a\r\n\r\n",
            Fault::OldVersionWithoutLength,
        ),
        (
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Fault::OldVersionTransferEncoding,
        ),
        (
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            Fault::RepeatedHost,
        ),
    ];
    for (head, fault) in table {
        let text = String::from_utf8_lossy(head);
        let smuggled = [*head, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let expected = Seen {
            passed: head.len(),
            end: Some(End::Head(*fault)),
        };
        assert_eq!(verdict(&smuggled), expected, "{text}");
    }
}

#[test]
fn bad_chunks_end_the_input_at_the_faulty_byte() {
    let table: &[(&[u8], usize, Fault)] = &[
        (b"5;ext=1\r\nhello\r\n", 1, Fault::ChunkExtension),
        (b"5 \r\nhello\r\n", 1, Fault::ChunkExtension),
        (b"-5\r\n", 0, Fault::ChunkSize),
        (b"+5\r\n", 0, Fault::ChunkSize),
        (b"0x5\r\nhello", 1, Fault::ChunkSize),
        (b"\r\n", 0, Fault::ChunkSize),
        (b";a\r\n", 0, Fault::ChunkSize),
        (b"100000000\r\n", 8, Fault::ChunkSize),
        (b"fffffffffffffffff\r\n", 8, Fault::ChunkSize),
        (b"5\nhello", 1, Fault::BareLineFeed),
        (b"5\rhello", 2, Fault::BareCarriageReturn),
        (b"5\r\nhelloX\n", 8, Fault::ChunkEnd),
        (b"5\r\nhello\n", 8, Fault::ChunkEnd),
        (b"5\r\nhello\rX", 9, Fault::ChunkEnd),
        (b"0\r\nTrailer: a\r\n\r\n", 3, Fault::Trailers),
        (b"0\r\n\n", 3, Fault::BareLineFeed),
        (b"0\r\n\rX", 4, Fault::BareCarriageReturn),
    ];
    let head = post("Transfer-Encoding: chunked\r\n");
    for (body, at, fault) in table {
        let text = String::from_utf8_lossy(body);
        let message = [head.as_slice(), body].concat();
        let expected = Seen {
            passed: head.len() + at,
            end: Some(End::Body(*fault)),
        };
        assert_eq!(verdict(&message), expected, "{text}");
    }
}

#[test]
fn a_head_may_be_as_large_as_the_limit() {
    let of_length = |length: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        head.resize(length - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        head
    };
    let pieces = vec![4096; MAX_HEAD_BYTES];
    let fits = of_length(MAX_HEAD_BYTES);
    assert_eq!(verdict_in_pieces(&fits, &pieces).end, None);
    let large = of_length(MAX_HEAD_BYTES + 1);
    let seen = verdict_in_pieces(&large, &pieces);
    assert_eq!(
        seen,
        Seen {
            passed: MAX_HEAD_BYTES,
            end: Some(End::Head(Fault::HeadTooLarge))
        }
    );
}

#[test]
fn the_fault_is_told_to_the_request_that_has_it() {
    let fault = FramingFault::default();
    fault.note(End::Head(Fault::RepeatedHost), 2);
    assert_eq!(fault.take_fault(), None);
    assert_eq!(fault.take_fault(), None);
    assert_eq!(fault.untaken(), Some("repeated_host"));
    assert_eq!(fault.take_fault(), Some("repeated_host"));
    assert_eq!(fault.untaken(), None);
    assert_eq!(fault.take_fault(), None);
}

/// What a reader gets from a connection on which `input` was sent.
async fn read_all(input: &[u8]) -> (Vec<u8>, Option<std::io::Error>, Arc<FramingFault>) {
    let (mut client, server) = tokio::io::duplex(64);
    let fault = Arc::new(FramingFault::default());
    let mut io = FramedIo::http1(server, Vec::new(), Arc::clone(&fault), Activity::new());
    let input = input.to_vec();
    let writer = tokio::spawn(async move {
        // The reader may stop before the end.
        let _ = client.write_all(&input).await;
    });
    let mut got = Vec::new();
    let mut piece = [0; 48];
    let error = loop {
        let read = tokio::time::timeout(std::time::Duration::from_secs(5), io.read(&mut piece));
        match read.await {
            Ok(Ok(0)) | Err(_) => break None,
            Ok(Ok(count)) => got.extend_from_slice(&piece[..count]),
            Ok(Err(error)) => break Some(error),
        }
    };
    writer.abort();
    (got, error, fault)
}

#[tokio::test(start_paused = true)]
async fn nothing_behind_a_faulty_head_is_read() {
    let first = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let second = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    let input = [
        first,
        second.as_slice(),
        b"0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    .concat();
    let (got, error, fault) = read_all(&input).await;
    assert_eq!(got, [first, second.as_slice()].concat());
    assert!(error.is_none(), "an error would cost the answer");
    assert_eq!(fault.take_fault(), None);
    assert_eq!(
        fault.take_fault(),
        Some("content_length_and_transfer_encoding")
    );
}

#[tokio::test(start_paused = true)]
async fn reading_fails_at_a_faulty_chunk() {
    let good = [
        post("Transfer-Encoding: chunked\r\n").as_slice(),
        b"3\r\nabc\r\n2",
    ]
    .concat();
    let input = [good.as_slice(), b";x\r\nab\r\n0\r\n\r\n"].concat();
    let (got, error, fault) = read_all(&input).await;
    assert_eq!(got, good);
    assert_eq!(error.expect("fails").to_string(), "chunk_extension");
    assert_eq!(fault.body_fault(), Some("chunk_extension"));
    assert_eq!(fault.take_fault(), None, "the head was good");
}

#[tokio::test]
async fn bytes_read_before_are_followed_too() {
    let (_client, server) = tokio::io::duplex(64);
    let fault = Arc::new(FramingFault::default());
    let prefix = b"GET / HTTP/1.1\n\n".to_vec();
    let mut io = FramedIo::http1(server, prefix.clone(), Arc::clone(&fault), Activity::new());
    let mut got = vec![0; prefix.len()];
    io.read_exact(&mut got).await.expect("the prefix");
    assert_eq!(got, prefix);
    assert_eq!(fault.take_fault(), Some("bare_line_feed"));
}

/// Messages and near misses, so that random input reaches every state.
fn arbitrary_input() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(post("Content-Length: 11\r\n")),
        Just(post("Transfer-Encoding: chunked\r\n")),
        Just(b"5\r\nhello\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"hello world".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"X: y\r\n".to_vec()),
        Just(b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_verdict(
        input in arbitrary_input(),
        sizes in proptest::collection::vec(0_usize..40, 0..60),
    ) {
        prop_assert_eq!(verdict_in_pieces(&input, &sizes), verdict(&input));
        let single = vec![1; input.len()];
        prop_assert_eq!(verdict_in_pieces(&input, &single), verdict(&input));
    }

    #[test]
    fn chunked_bodies_of_any_shape_pass(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 0..6),
    ) {
        let mut input = post("Transfer-Encoding: chunked\r\n");
        for chunk in &chunks {
            input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            input.extend_from_slice(chunk);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\n\r\n");
        let mut watch = Watch::new();
        prop_assert_eq!(watch.push(&input), Seen { passed: input.len(), end: None });
        prop_assert!(watch.between_messages());
    }

    #[test]
    fn no_input_panics_and_nothing_passes_behind_a_fault(
        input in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let seen = verdict(&input);
        prop_assert!(seen.passed <= input.len());
        prop_assert!(seen.end.is_some() || seen.passed == input.len());
    }
}
