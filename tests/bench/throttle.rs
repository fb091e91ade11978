//! An API server that is full now and then: it passes requests on to the real one, and answers some of them as API priority
//! and fairness does when its queues are full.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::floor::{self, Sender};

type Body = BoxBody<Bytes, hyper::Error>;

/// A front that is full now and then.
pub struct Throttle {
    pub address: SocketAddr,
    certificate: String,
    refused: Arc<AtomicUsize>,
}

impl Throttle {
    /// A front of `server` that refuses `percent` of a hundred requests.
    pub async fn before(server: SocketAddr, authority: &Path, percent: u8) -> Self {
        let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let issued = issued.expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.into())
            .expect("a key that fits");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let refused = Arc::new(AtomicUsize::new(0));
        let (count, authority) = (refused.clone(), authority.to_owned());
        // The same requests are hit in every run.
        let dice = Arc::new(Mutex::new(fastrand::Rng::with_seed(u64::from(percent))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, authority) = (acceptor.clone(), authority.clone());
                let (dice, count) = (dice.clone(), count.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.expect("a client of ours");
                    let sender = floor::connect(server, &authority).await;
                    let service = service_fn(move |request| {
                        let hit = dice.lock().expect("nobody panics").u8(..100) < percent;
                        if hit {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        answer(hit, sender.clone(), server, request)
                    });
                    // It ends with its client.
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            certificate: issued.cert.pem(),
            refused,
        }
    }

    /// How many requests were refused so far.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// A kubeconfig that leads here by way of `url`.
    pub fn kubeconfig(&self, directory: &Path, url: &str, token: &str) -> PathBuf {
        let authority = directory.join(format!("throttle-{}.crt", self.address.port()));
        std::fs::write(&authority, &self.certificate).expect("a directory to write to");
        let path = directory.join(format!("throttle-{}.json", self.address.port()));
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": url, "certificate-authority": authority}}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        });
        std::fs::write(&path, content.to_string()).expect("a directory to write to");
        path
    }
}

async fn answer(
    is_full: bool,
    mut sender: Sender,
    server: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    if is_full {
        let body = Full::from("Too many requests, please try again later.\n");
        let response = Response::builder()
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Retry-After", "1")
            .body(body.map_err(|never| match never {}).boxed());
        return Ok(response.expect("a response"));
    }
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("https://{server}{path}").parse().expect("a URI");
    let body = body.collect().await?.to_bytes();
    sender.ready().await?;
    let response = sender
        .send_request(Request::from_parts(head, Full::from(body)))
        .await?;
    Ok(response.map(BodyExt::boxed))
}
