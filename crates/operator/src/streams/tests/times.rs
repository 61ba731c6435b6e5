//! When a stream ends by itself.

use sidegate_config::control::RefusalReason;
use tokio::time::Instant;

use super::super::peer::Peer;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_sidecar_is_hung_up_on() {
    let replica = Replica::new();
    let began = Instant::now();
    let mut stream = replica.stream(Wanted::default()).await;
    let mut heartbeats = 0;
    while let Some(message) = stream.try_next().await {
        assert!(matches!(message, FromOperator::Heartbeat));
        heartbeats += 1;
    }
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(heartbeats >= 2, "this side is not silent");
    assert_eq!(stream.end().await, "silent");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_stream() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    for _ in 0..20 {
        assert!(matches!(stream.next().await, FromOperator::Heartbeat));
        stream.say(&FromSidecar::Heartbeat).await;
    }
    assert_eq!(stream.end().await, "hung_up");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_make_no_message_are_silence() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let began = Instant::now();
    stream
        .far
        .write_all(&100_u32.to_be_bytes())
        .await
        .expect("it is written");
    let (mut read, mut write) = tokio::io::split(stream.far);
    let dripping = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.expect("it ends");
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(stream.ended.await.expect("no panic").word(), "silent");
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_does_not_read_is_hung_up_on() {
    let replica = Replica::new();
    let large = format!("\"{}\"", "x".repeat(10_000));
    let stream = replica
        .stream(Wanted {
            assignment: assigned(program_with("a", 1, &large), 1),
            room: 64,
            reads_welcome: false,
            ..Wanted::default()
        })
        .await;
    let began = Instant::now();
    let Standing {
        mut far,
        ended,
        assignment: _assignment,
        ..
    } = stream;
    // It goes on to talk, but reads nothing.
    let talks = tokio::spawn(async move {
        let heartbeat = encode(&FromSidecar::Heartbeat, MAX_TO_OPERATOR).expect("a frame");
        while far.write_all(&heartbeat).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    assert_eq!(ended.await.expect("no panic").word(), "slow");
    assert_eq!(began.elapsed().as_secs(), 30);
    talks.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    replica.clock.advance(Duration::from_secs(3599));
    assert!(matches!(stream.next().await, FromOperator::Heartbeat));
    stream.say(&FromSidecar::Heartbeat).await;
    replica.clock.advance(Duration::from_secs(1));
    let refusal = stream.refused().await;
    assert_eq!(refusal.reason, RefusalReason::TokenEnded);
    assert_eq!(stream.end().await, "token_ended");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_is_read_at_a_pace() {
    let replica = Replica::new();
    let mut stream = replica.stream(Wanted::default()).await;
    let began = Instant::now();
    let heartbeat = encode(&FromSidecar::Heartbeat, MAX_TO_OPERATOR).expect("a frame");
    for _ in 0..200 {
        stream
            .far
            .write_all(&heartbeat)
            .await
            .expect("it is written");
    }
    stream.far.shutdown().await.expect("it is closed");
    while stream.try_next().await.is_some() {}
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(14), "{took:?}");
    assert_eq!(stream.end().await, "hung_up");
}

#[tokio::test(start_paused = true)]
async fn without_a_hello_there_is_no_stream() {
    let replica = Replica::new();
    let began = Instant::now();
    let (near, mut far) = duplex(1024);
    let (reader, writer) = split(near);
    let peer = Peer {
        reader,
        writer,
        certificate: None,
        source: SOURCE,
    };
    let arriving = Arrivals::new(1, 1, 1).enter(SOURCE).expect("a place");
    let served = tokio::spawn(peer.serve(arriving, Arc::clone(&replica.shared)));
    // Too little of it.
    far.write_all(&[0, 0, 0]).await.expect("it is written");
    let mut decoder = Decoder::new(MAX_TO_SIDECAR);
    let mut arrived = vec![0; 1024];
    let count = far.read(&mut arrived).await.expect("it is told");
    assert_eq!(began.elapsed().as_secs(), 5);
    decoder.push(&arrived[..count]);
    let Some(FromOperator::Refused(refusal)) = decoder.next_message().expect("a message") else {
        panic!("a refusal")
    };
    assert_eq!(refusal.reason, RefusalReason::Protocol);
    served.await.expect("it ends");
    assert_eq!(replica.asked(), 0);
}
