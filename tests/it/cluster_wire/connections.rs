//! The connection to a real API server: TLS and HTTP/2, shared by every call, and given up when it falls silent.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source};
use spot_interrupt_handler::plan::id::{PodRef, PodUid};
use spot_interrupt_handler::ports::{Cluster, ClusterError};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::cluster_from;

/// Evictions at once: more than the planner starts with.
const MANY: usize = 40;

/// What the server saw, in its order.
type Journal = Arc<Mutex<Vec<Seen>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Request,
    Answered,
    /// The client does not wait any more.
    Reset,
}

/// One request at the server, until it is answered or dropped.
struct Open(Journal, Seen);

impl Open {
    fn begin(journal: Journal) -> Self {
        journal.lock().expect("no panic").push(Seen::Request);
        Self(journal, Seen::Reset)
    }

    fn answer(&mut self) {
        self.1 = Seen::Answered;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().expect("no panic").push(self.1);
    }
}

/// A TLS server that answers 201 to everything, once as many requests are open as it waits for.
struct SecureServer {
    /// Its address of loopback, as it stands in a URL.
    host: &'static str,
    port: u16,
    connections: Arc<AtomicUsize>,
    journal: Journal,
    home: TempDir,
}

impl SecureServer {
    async fn for_name(name: &str, together: usize) -> Self {
        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("ca.pem"), issued.cert.pem()).expect("a file");
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.into())
            .expect("a key that fits");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let host = if name == "::1" { "[::1]" } else { "127.0.0.1" };
        let listener = TcpListener::bind(format!("{host}:0"))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let journal = Journal::default();
        let accepting = accept(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::new(Barrier::new(together)),
            connections.clone(),
            journal.clone(),
        );
        tokio::spawn(accepting);
        Self {
            host,
            port,
            connections,
            journal,
            home,
        }
    }

    /// The adapter, told to reach the server at this port of loopback, with `more` in the kubeconfig's cluster.
    async fn cluster_at(&self, port: u16, more: &str) -> KubeCluster {
        cluster_from(self.kubeconfig(port, more), Clock::real()).await
    }

    fn kubeconfig(&self, port: u16, more: &str) -> Source {
        let file: PathBuf = self.home.path().join("config");
        let host = self.host;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: home}}}}]\n\
             clusters: [{{name: home, cluster: {{server: 'https://{host}:{port}', certificate-authority: ca.pem{more}}}}}]\n"
        );
        std::fs::write(&file, text).expect("a kubeconfig");
        Source::Kubeconfig {
            file: Some(file),
            context: None,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    together: Arc<Barrier>,
    connections: Arc<AtomicUsize>,
    journal: Journal,
) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, together) = (acceptor.clone(), together.clone());
        let journal = journal.clone();
        tokio::spawn(async move {
            // A client that does not trust us hangs up here.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(move |_: Request<Incoming>| {
                let together = together.clone();
                let journal = journal.clone();
                async move {
                    // In the request's own task, which runs after those that were woken before it came.
                    let mut open = Open::begin(journal);
                    together.wait().await;
                    open.answer();
                    let response = Response::builder().status(201);
                    Ok::<_, Infallible>(response.body(created()).expect("an answer"))
                }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .http2_only()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

fn created() -> Full<Bytes> {
    Full::from(r#"{"kind":"Status","apiVersion":"v1","status":"Success","code":201}"#)
}

fn pod(number: usize) -> PodRef {
    PodRef {
        namespace: "shop".to_owned(),
        name: format!("web-{number}"),
        uid: PodUid::new(format!("uid-{number}")),
    }
}

#[tokio::test]
async fn an_api_server_at_an_ipv6_address_is_reached_and_its_certificate_is_for_that_address() {
    let server = SecureServer::for_name("::1", 1).await;
    let cluster = server.cluster_at(server.port, "").await;
    let evicted = cluster.evict(&pod(0), None).await;
    evicted.expect("an eviction");
}

#[tokio::test]
async fn forty_evictions_at_once_share_one_connection() {
    // The server answers none of them before all of them are there: they are in flight together.
    let server = SecureServer::for_name("127.0.0.1", MANY).await;
    let cluster = server.cluster_at(server.port, "").await;
    let pods: Vec<PodRef> = (0..MANY).map(pod).collect();
    let evictions = pods.iter().map(|pod| cluster.evict(pod, None));
    for result in join_all(evictions).await {
        result.expect("an eviction");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_name_to_be_verified_may_be_given_by_the_kubeconfig() {
    let server = SecureServer::for_name("api.example", 1).await;
    let named = server
        .cluster_at(server.port, ", tls-server-name: api.example")
        .await;
    named.evict(&pod(0), None).await.expect("an eviction");

    let by_address = server.cluster_at(server.port, "").await;
    let error = by_address
        .evict(&pod(0), None)
        .await
        .expect_err("not the certificate of 127.0.0.1");
    assert!(matches!(error, ClusterError::Unreachable(_)), "{error:?}");
}

/// Passes bytes on between clients and a server, until it is told to hold the connections that are there: they stay
/// open and say nothing, as when a network card dies. Later ones work.
struct Wire {
    port: u16,
    hold: watch::Sender<()>,
}

impl Wire {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (hold, _) = watch::channel(());
        let switch = hold.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = switch.subscribe();
                tokio::spawn(async move {
                    let far = TcpStream::connect(("127.0.0.1", server)).await;
                    let mut far = far.expect("the server");
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, hold }
    }
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_found_by_pings_and_replaced() {
    let server = SecureServer::for_name("127.0.0.1", 1).await;
    let wire = Wire::to(server.port).await;
    let cluster = server.cluster_at(wire.port, "").await;
    cluster.evict(&pod(0), None).await.expect("an eviction");

    wire.hold.send(()).expect("a connection");
    let clock = Clock::real();
    let limit = clock.now().at + Duration::from_mins(1);
    let pods: Vec<PodRef> = (1..=8).map(pod).collect();
    let evictions = join_all(pods.iter().map(|pod| cluster.evict(pod, None)));
    let results = clock.until(limit, evictions).await.expect("an end");
    for result in results {
        let error = result.expect_err("no answer");
        assert!(matches!(error, ClusterError::Lost(_)), "{error:?}");
    }

    let again = join_all(pods.iter().map(|pod| cluster.evict(pod, None)));
    for result in again.await {
        result.expect("an eviction");
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn calls_to_a_server_that_accepts_and_says_nothing_all_fail_before_they_would_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = SecureServer::for_name("127.0.0.1", 1).await;
    let cluster = server.cluster_at(port, "").await;
    let clock = Clock::real();
    let limit = clock.now().at + Duration::from_secs(12);
    // One of them connects, and the others wait for its connection; they must not then try one after the other.
    let pods: Vec<PodRef> = (0..8).map(pod).collect();
    let evictions = join_all(pods.iter().map(|pod| cluster.evict(pod, None)));
    let results = clock.until(limit, evictions).await.expect("an end");
    for result in results {
        let error = result.expect_err("no TLS");
        assert!(matches!(error, ClusterError::Unreachable(_)), "{error:?}");
    }
    drop(listener);
}

#[tokio::test]
async fn a_new_connection_is_opened_when_that_is_asked_for_and_then_shared() {
    let server = SecureServer::for_name("127.0.0.1", 1).await;
    let cluster = server.cluster_at(server.port, "").await;
    let evict = async |count| {
        let pods: Vec<PodRef> = (0..count).map(pod).collect();
        for result in join_all(pods.iter().map(|pod| cluster.evict(pod, None))).await {
            result.expect("an eviction");
        }
    };
    evict(4).await;
    assert_eq!(server.connections(), 1);
    cluster.change_connection().await;
    evict(4).await;
    assert_eq!(server.connections(), 2);
    // Not one for each doubt: at most every five seconds.
    cluster.change_connection().await;
    evict(4).await;
    assert_eq!(server.connections(), 2);
}

/// As the loop does it: the attempt is aborted, and the next one is started without a wait.
#[tokio::test]
async fn a_call_that_is_given_up_is_reset_before_it_is_made_again() {
    // The barrier holds the first request, and lets the second one pass.
    let server = SecureServer::for_name("127.0.0.1", 2).await;
    let cluster = Arc::new(server.cluster_at(server.port, "").await);
    let evict = || {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.evict(&pod(0), None).await })
    };
    let first = evict();
    while server.journal.lock().expect("no panic").is_empty() {
        tokio::task::yield_now().await;
    }
    first.abort();
    let second = evict().await;
    second.expect("no panic").expect("an eviction");
    let journal = server.journal.lock().expect("no panic");
    let expected = [Seen::Request, Seen::Reset, Seen::Request, Seen::Answered];
    assert_eq!(journal[..], expected);
}
