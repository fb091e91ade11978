//! The floor: what no drainer can go below. One HTTP/2 connection, and every eviction at once, of pods whose names are known.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A pod to evict.
#[derive(Clone, Debug)]
pub struct Named {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// What is spoken to the API server here: requests with a body, over one connection.
pub type Sender = SendRequest<Full<Bytes>>;

/// Opens the one connection.
pub async fn connect(address: SocketAddr, authority: &Path) -> Sender {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).expect("a certificate") {
        let certificate = certificate.expect("a certificate");
        trusted.add(certificate).expect("a certificate");
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.expect("the server");
    stream.set_nodelay(true).expect("a socket");
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("a server that we trust");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Evicts these pods, all at once, and returns when the last has been answered.
pub async fn evict_all(address: SocketAddr, authority: &Path, token: &str, pods: &[Named]) {
    let sender = connect(address, authority).await;
    join_all(pods.iter().map(|pod| {
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": pod.namespace, "name": pod.name},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        });
        let Named {
            namespace, name, ..
        } = pod;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
        let request = Request::post(format!("https://{address}{path}"))
            .header("Authorization", format!("Bearer {token}"))
            .header("Content-Type", "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        let mut sender = sender.clone();
        async move {
            sender.ready().await.expect("a connection");
            let response = sender.send_request(request).await.expect("an answer");
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body");
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            assert_eq!(status, StatusCode::CREATED, "{body}");
        }
    }))
    .await;
}
