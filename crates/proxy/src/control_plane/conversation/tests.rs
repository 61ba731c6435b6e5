use sidegate_config::control::frame::{Decoder, encode};
use sidegate_config::control::{MAX_TO_OPERATOR, MAX_TO_SIDECAR};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::control_plane::test_client::client;

/// The other end of a stream.
struct Operator {
    connection: DuplexStream,
    decoder: Decoder,
}

impl Operator {
    async fn say(&mut self, message: &FromOperator) {
        let frame = encode(message, MAX_TO_SIDECAR).expect("fits");
        self.connection.write_all(&frame).await.expect("sent");
    }

    /// The next message that is no heartbeat; none at the end.
    async fn hear(&mut self) -> Option<FromSidecar> {
        loop {
            let message = self.next().await?;
            if !matches!(message, FromSidecar::Heartbeat) {
                return Some(message);
            }
        }
    }

    async fn next(&mut self) -> Option<FromSidecar> {
        loop {
            if let Some(message) = self.decoder.next_message().expect("a message") {
                return Some(message);
            }
            let mut piece = [0; 1024];
            match self.connection.read(&mut piece).await.expect("bytes") {
                0 => return None,
                read => self.decoder.push(&piece[..read]),
            }
        }
    }

    async fn welcome(&mut self) {
        let hello = self.hear().await;
        assert!(matches!(hello, Some(FromSidecar::Hello(_))), "{hello:?}");
        self.say(&FromOperator::Welcome(Welcome {
            pod: "crm/support-0".to_owned(),
        }))
        .await;
        let asked = self.hear().await;
        assert!(
            matches!(asked, Some(FromSidecar::CertificateRequest(_))),
            "{asked:?}"
        );
    }
}

/// A conversation with the token "one", and its other end.
fn begin(
    mut client: Client,
) -> (
    Operator,
    tokio::task::JoinHandle<(Client, Option<StreamError>)>,
) {
    let (near, far) = duplex(64 * 1024);
    let talking = tokio::spawn(async move {
        let token = SecretText::from("one".to_owned());
        let ended = Box::pin(client.converse(Stream::new(near), token)).await;
        let lost = match ended {
            Ended::Stopping => None,
            Ended::Lost(error, _) => Some(error),
            Ended::ToShowCertificate => panic!("it was shown"),
        };
        (client, lost)
    });
    let operator = Operator {
        connection: far,
        decoder: Decoder::new(MAX_TO_OPERATOR),
    };
    (operator, talking)
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_with_nothing_to_say_is_heard_of_and_notices_silence() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut operator, talking) = begin(client(&dir).await);
    operator.welcome().await;
    let began = Instant::now();
    for beat in 1..=2 {
        let message = operator.next().await;
        assert!(
            matches!(message, Some(FromSidecar::Heartbeat)),
            "{message:?}"
        );
        assert_eq!(began.elapsed(), HEARTBEAT * beat);
    }
    while operator.next().await.is_some() {}
    assert_eq!(began.elapsed(), SILENCE);
    let (_, lost) = talking.await.expect("ends");
    assert!(matches!(lost, Some(StreamError::Silent)), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_on_which_both_are_heard_of_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut operator, talking) = begin(client(&dir).await);
    operator.welcome().await;
    for _ in 0..60 {
        tokio::time::sleep(HEARTBEAT).await;
        operator.say(&FromOperator::Heartbeat).await;
        operator.say(&FromOperator::Unknown).await;
    }
    assert!(!talking.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_greeting_must_be_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let (mut operator, talking) = begin(client(&dir).await);
    // Signs of life are no answer.
    while !talking.is_finished() {
        tokio::time::sleep(HEARTBEAT / 2).await;
        let frame = encode(&FromOperator::Heartbeat, MAX_TO_SIDECAR).expect("fits");
        // It may have gone.
        let _ = operator.connection.write_all(&frame).await;
    }
    assert!(began.elapsed() <= SILENCE + HEARTBEAT);
    let (client, lost) = talking.await.expect("ends");
    assert!(matches!(lost, Some(StreamError::Silent)), "{lost:?}");

    let (mut operator, talking) = begin(client);
    let early = FromOperator::Authorities(Authorities {
        authorities_pem: String::new(),
    });
    operator.say(&early).await;
    let (_, lost) = talking.await.expect("ends");
    assert!(matches!(lost, Some(StreamError::Greeting)), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewed_token_is_sent_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut operator, talking) = begin(client(&dir).await);
    operator.welcome().await;
    let mut tokens = Vec::new();
    for second in 0..200_u64 {
        if second == 70 {
            std::fs::write(dir.path().join("token"), "two").expect("written");
        }
        if second == 130 {
            // The kubelet is about to write it.
            std::fs::remove_file(dir.path().join("token")).expect("removed");
        }
        operator.say(&FromOperator::Heartbeat).await;
        let heard = timeout(Duration::from_secs(1), operator.hear()).await;
        if let Ok(Some(FromSidecar::Token(token))) = heard {
            tokens.push((second, token.token.expose().to_vec()));
        }
    }
    assert!(!talking.is_finished());
    let [(second, token)] = tokens.as_slice() else {
        panic!("one token: {tokens:?}")
    };
    assert_eq!(token, b"two");
    assert!(
        (70..=70 + TOKEN_LOOK.as_secs()).contains(second),
        "{second}"
    );
}

#[tokio::test]
async fn a_drain_ends_the_stream_in_good_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let client = client(&dir).await;
    let drain = Arc::clone(client.sidecar.drain());
    let (mut operator, talking) = begin(client);
    operator.welcome().await;
    drain.begin();
    assert!(operator.hear().await.is_none());
    let (_, lost) = talking.await.expect("ends");
    assert!(lost.is_none(), "{lost:?}");
}
