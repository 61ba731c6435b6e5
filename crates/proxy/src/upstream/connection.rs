//! One HTTP/1.1 connection to a server of the pod.
//!
//! The connection is driven by the task of the request that uses it, not by a
//! task of its own: a request then costs no wake-up of another thread, and a
//! client that goes away closes the connection by the drop of its answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::AttemptError;

type Wire = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

/// An open connection; it makes no progress unless it is polled.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Pin<Box<Wire>>,
    patience: Patience,
    home: Arc<dyn Home>,
}

/// Where a connection goes whose last answer has been read to its end.
pub(crate) trait Home: Send + Sync {
    /// Takes the connection back.
    fn put(&self, connection: Connection);
}

/// A timer that outlives requests. It is set anew only when it fires too early
/// or would fire too late, so that most requests never touch the timers that
/// all connections share.
struct Patience(Pin<Box<Sleep>>);

/// Why a request got no answer on this connection.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The connection was closed before a byte of the request was written.
    NotSent(Box<Request<Full<Bytes>>>),
    /// The connection broke after the request may have been seen.
    BrokenOff(hyper::Error),
    /// There was no answer in time.
    TimedOut,
}

// === impl Connection ===

impl Connection {
    /// Connects to the first of two addresses of a server that answers.
    ///
    /// # Errors
    /// [`AttemptError::Unreachable`] when neither address answers.
    pub(crate) async fn open(
        [first, second]: [SocketAddr; 2],
        home: Arc<dyn Home>,
        timeout: Duration,
    ) -> Result<Self, AttemptError> {
        let stream = match connect(first, timeout).await {
            Ok(stream) => stream,
            // The first error tells more: it is where most servers listen.
            Err(error) => connect(second, timeout)
                .await
                .map_err(|_| AttemptError::Unreachable(error))?,
        };
        stream
            .set_nodelay(true)
            .map_err(AttemptError::Unreachable)?;
        let (sender, wire) = http1::Builder::new()
            .max_headers(100)
            .max_buf_size(256 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(AttemptError::BrokenOff)?;
        Ok(Self {
            sender,
            wire: Box::pin(wire),
            patience: Patience::new(),
            home,
        })
    }

    /// Whether the connection was open when it was last polled.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends one request and waits for the head of its answer, not longer than
    /// `until`.
    ///
    /// # Errors
    /// [`SendError`], with the request when none of it was sent.
    pub(crate) async fn send(
        mut self,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Response<UpstreamBody>, SendError> {
        if !self.usable(until).await {
            return Err(SendError::NotSent(Box::new(request)));
        }
        let answer = {
            let mut answer = std::pin::pin!(self.sender.try_send_request(request));
            let (wire, patience) = (&mut self.wire, &mut self.patience);
            let mut closed = false;
            poll_fn(|cx| {
                // A connection that ends resolves the answer; it is polled no
                // more after that.
                closed = closed || wire.as_mut().poll(cx).is_ready();
                match answer.as_mut().poll(cx) {
                    Poll::Ready(answer) => Poll::Ready(Some(answer)),
                    Poll::Pending => patience.poll_over(until, cx).map(|()| None),
                }
            })
            .await
        };
        let Some(answer) = answer else {
            return Err(SendError::TimedOut);
        };
        match answer {
            Ok(response) => Ok(response.map(|body| UpstreamBody::new(body, self))),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::NotSent(Box::new(request)),
                None => SendError::BrokenOff(error.into_error()),
            }),
        }
    }

    /// Lets the connection see whether the server has closed it meanwhile.
    async fn usable(&mut self, until: Instant) -> bool {
        let (sender, wire, patience) = (&mut self.sender, &mut self.wire, &mut self.patience);
        poll_fn(|cx| {
            if wire.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            match sender.poll_ready(cx) {
                Poll::Ready(ready) => Poll::Ready(ready.is_ok()),
                Poll::Pending => patience.poll_over(until, cx).map(|()| false),
            }
        })
        .await
    }
}

// === impl Patience ===

impl Patience {
    fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Ready when `until` has passed.
    fn poll_over(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.deadline() > until {
            self.0.as_mut().reset(until);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(until);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

async fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, std::io::Error> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(stream) => stream,
        Err(_elapsed) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// The body of an answer, which drives its connection while it is read and
/// gives it back to the pool at its end.
pub(crate) struct UpstreamBody {
    body: Incoming,
    connection: Option<Connection>,
}

impl UpstreamBody {
    fn new(body: Incoming, connection: Connection) -> Self {
        let mut this = Self {
            body,
            connection: Some(connection),
        };
        if this.body.is_end_stream() {
            this.release();
        }
        this
    }

    fn release(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.is_open()
        {
            let home = Arc::clone(&connection.home);
            home.put(connection);
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(connection) = &mut this.connection
            && connection.wire.as_mut().poll(cx).is_ready()
        {
            // What was read before the end is still in the body's channel.
            this.connection = None;
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || this.body.is_end_stream() {
            this.release();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
