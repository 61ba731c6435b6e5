//! `sidegate hold` and the sidecar as processes: the port is never free.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sidegate_testkit::client::Client;
use sidegate_testkit::issuer::TestIssuer;
use sidegate_testkit::poll::until;
use sidegate_testkit::process::{Process, SidegateProcess, free_ports};
use sidegate_testkit::upstream::{Reply, SeenRequest, Upstream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{RESOURCE, gateway, obliging};

/// Stands for the address of the pod.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A question that a sidecar answers by itself.
const QUESTION: &[u8] = b"GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\n\
    Host: localhost\r\nConnection: close\r\n\r\n";
const KILLS: usize = 100;

/// A pod: a server, and the ports that are guarded for it.
struct Pod {
    issuer: TestIssuer,
    upstream: Upstream,
    config: TempDir,
    run: TempDir,
    address: SocketAddr,
}

impl Pod {
    async fn start() -> Self {
        Self::answering(obliging).await
    }

    async fn answering(script: impl Fn(&SeenRequest) -> Reply + Send + Sync + 'static) -> Self {
        let (issuer, upstream) = (TestIssuer::start().await, Upstream::start(script).await);
        let config = tempfile::tempdir().unwrap();
        let text = gateway(&issuer, &upstream).to_string();
        std::fs::write(config.path().join("gateway.yaml"), text).unwrap();
        let [port] = free_ports();
        Self {
            issuer,
            upstream,
            config,
            run: tempfile::tempdir().unwrap(),
            address: SocketAddr::new(POD, port),
        }
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join("hold.sock")
    }

    fn hold(&self) -> Process {
        let (socket, port) = (self.socket(), self.address.port().to_string());
        let socket = socket.to_str().unwrap();
        let bind = POD.to_string();
        let arguments = ["hold", "--socket", socket, "--bind", &bind, &port];
        Process::start("sidegate", &arguments, self.run.path())
    }

    async fn until_held(&self) {
        until("the port is held", || is_taken(self.address).then_some(())).await;
    }

    fn sidecar(&self) -> SidegateProcess {
        let listen = format!("support={}", self.address);
        let socket = self.socket();
        let arguments = ["--listen", &listen, "--hold", socket.to_str().unwrap()];
        SidegateProcess::start(self.config.path(), &arguments)
    }

    async fn ready(&self) -> SidegateProcess {
        let mut sidecar = self.sidecar();
        sidecar.until_ready().await;
        sidecar
    }
}

/// Whether a server that listens on every address, or on this one, is kept
/// out.
fn is_taken(address: SocketAddr) -> bool {
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    [wildcard, address]
        .iter()
        .all(|address| StdTcpListener::bind(address).is_err())
}

async fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    // A sidecar that is killed resets what it had accepted.
    let mut answer = Vec::new();
    let answered = async {
        stream.write_all(QUESTION).await?;
        stream.read_to_end(&mut answer).await
    };
    Ok(answered.await.is_ok() && answer.starts_with(b"HTTP/1.1 200 "))
}

/// Clients that connect all the time, and a server that wants the port.
struct Pressure {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
    stolen: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Pressure {
    fn start(address: SocketAddr) -> Self {
        let mut pressure = Self {
            stopped: Arc::default(),
            answered: Arc::default(),
            refused: Arc::default(),
            attempts: Arc::default(),
            stolen: Arc::default(),
            tasks: Vec::new(),
        };
        for _ in 0..4 {
            let stopped = Arc::clone(&pressure.stopped);
            let (answered, refused) = (pressure.answered.clone(), pressure.refused.clone());
            pressure.tasks.push(tokio::spawn(async move {
                while !stopped.load(Ordering::SeqCst) {
                    match ask(address).await {
                        Ok(true) => answered.fetch_add(1, Ordering::SeqCst),
                        Ok(false) => 0,
                        Err(_) => refused.fetch_add(1, Ordering::SeqCst),
                    };
                }
            }));
        }
        let stopped = Arc::clone(&pressure.stopped);
        let (attempts, stolen) = (pressure.attempts.clone(), pressure.stolen.clone());
        pressure.tasks.push(tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            while !stopped.load(Ordering::SeqCst) {
                pace.tick().await;
                attempts.fetch_add(1, Ordering::SeqCst);
                if !is_taken(address) {
                    stolen.fetch_add(1, Ordering::SeqCst);
                }
            }
        }));
        pressure
    }

    async fn assert_stood(self, least: usize) {
        self.stopped.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        assert_eq!(count(&self.refused), 0, "connections were refused");
        assert_eq!(count(&self.stolen), 0, "the port was free");
        assert!(count(&self.attempts) >= least, "{}", count(&self.attempts));
        assert!(count(&self.answered) >= least, "{}", count(&self.answered));
    }

    async fn until_answered(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        until("a client is answered", || {
            (self.answered.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_is_killed_a_hundred_times_loses_neither_port_nor_connections() {
    let pod = Pod::start().await;
    let _hold = pod.hold();
    pod.until_held().await;
    let pressure = Pressure::start(pod.address);
    for _ in 0..KILLS {
        let mut sidecar = pod.sidecar();
        pressure.until_answered().await;
        sidecar.process().signal("KILL");
        sidecar.process().until_ended().await;
    }
    // Those that wait are answered by the next one.
    let _sidecar = pod.ready().await;
    pressure.assert_stood(KILLS).await;
}

#[tokio::test]
async fn connections_wait_for_the_first_sidecar() {
    let pod = Pod::start().await;
    let _hold = pod.hold();
    pod.until_held().await;
    let waiting = tokio::spawn(ask(pod.address));
    let _sidecar = pod.ready().await;
    assert!(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_sidecar_waits_for_its_ports() {
    let pod = Pod::start().await;
    let mut sidecar = pod.sidecar();
    let waiting = "waiting for the listening sockets";
    until("it says so", || {
        sidecar.process().stderr().contains(waiting).then_some(())
    })
    .await;
    let health = Client::plaintext(sidecar.health().await);
    assert_eq!(health.get("/readyz").await.unwrap().status, 503);
    assert!(!is_taken(pod.address), "it took the port itself");

    let _hold = pod.hold();
    sidecar.until_ready().await;
    assert!(ask(pod.address).await.unwrap());
}

#[tokio::test]
async fn a_server_that_has_the_port_is_told_of_until_it_gives_it_back() {
    let pod = Pod::start().await;
    let everywhere = (Ipv4Addr::UNSPECIFIED, pod.address.port());
    let server = StdTcpListener::bind(everywhere).unwrap();
    let hold = pod.hold();
    let mut sidecar = pod.sidecar();
    until("it is said what to change", || {
        let log = hold.stderr();
        let address = pod.address.to_string();
        (log.contains(&address) && log.contains("127.0.0.1 only")).then_some(())
    })
    .await;
    let health = Client::plaintext(sidecar.health().await);
    assert_eq!(health.get("/readyz").await.unwrap().status, 503);
    drop(server);
    sidecar.until_ready().await;
    assert!(is_taken(pod.address));
}

#[tokio::test]
async fn a_restarted_holder_gets_the_port_back_from_the_sidecar() {
    let pod = Pod::start().await;
    let mut hold = pod.hold();
    let mut sidecar = pod.ready().await;
    let pressure = Pressure::start(pod.address);
    for _ in 0..3 {
        hold.signal("KILL");
        hold.until_ended().await;
        pressure.until_answered().await;
        // In place of the socket of the one before.
        hold = pod.hold();
        until("the port is given back", || {
            hold.stderr().contains("got the port back").then_some(())
        })
        .await;
        sidecar.process().signal("KILL");
        sidecar.process().until_ended().await;
        sidecar = pod.ready().await;
    }
    pressure.until_answered().await;
    pressure.assert_stood(1).await;
}

#[tokio::test]
async fn a_draining_sidecar_turns_away_what_it_serves_no_more() {
    let gate = sidegate_testkit::upstream::Gate::default();
    let at = gate.clone();
    let pod = Pod::answering(move |request| {
        let reply = Reply::result(request, serde_json::json!({}));
        match request.tool().as_deref() {
            Some("get_slow") => reply.gated_after(0, &at),
            _ => reply,
        }
    })
    .await;
    let _hold = pod.hold();
    let mut sidecar = pod.ready().await;
    let token = pod.issuer.token(RESOURCE).scope("customer:read").sign();
    let call = sidegate_testkit::mcp::call("get_slow", serde_json::json!({})).token(&token);
    let client = Client::plaintext(pod.address).host("localhost");
    let slow = tokio::spawn(async move { client.send(call).await });
    pod.upstream.until_requests(1).await;
    sidecar.process().signal("TERM");
    // Served while callers are to leave, then reset at once; never waiting for
    // somebody who does not come.
    let end = tokio::time::Instant::now() + sidegate_testkit::poll::PATIENCE;
    while ask(pod.address).await.unwrap() {
        assert!(tokio::time::Instant::now() < end, "still served");
    }
    assert!(is_taken(pod.address) && !slow.is_finished());
    gate.open();
    assert_eq!(slow.await.unwrap().unwrap().status, 200);
    assert_eq!(sidecar.process().until_ended().await.code(), Some(0));

    assert!(is_taken(pod.address));
    let waiting = tokio::spawn(ask(pod.address));
    let _next = pod.ready().await;
    assert!(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_holder_is_small_and_ends_when_it_is_asked_to() {
    let pod = Pod::start().await;
    let mut hold = pod.hold();
    pod.until_held().await;
    for _ in 0..20 {
        let mut sidecar = pod.ready().await;
        sidecar.process().signal("KILL");
        sidecar.process().until_ended().await;
    }
    let kib = own_memory_kib(hold.id());
    assert!(kib < 6 * 1024, "{kib} KiB");
    assert_eq!(hold.terminate().await.code(), Some(0));
    assert!(!is_taken(pod.address));
}

/// What is counted against a limit of a container and cannot be dropped.
fn own_memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn only_one_holder_serves_a_socket_and_no_file_is_replaced() {
    let pod = Pod::start().await;
    let _hold = pod.hold();
    pod.until_held().await;
    until("it answers", || pod.socket().exists().then_some(())).await;
    assert_eq!(mode(&pod.socket()), 0o600);
    let mut second = pod.hold();
    assert_eq!(second.until_ended().await.code(), Some(2));
    assert!(
        second.stderr().contains("another `sidegate hold`"),
        "{}",
        second.stderr()
    );

    let file = pod.run.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let arguments = ["hold", "--socket", "file", "1"];
    let mut wrong = Process::start("sidegate", &arguments, pod.run.path());
    assert_eq!(wrong.until_ended().await.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
