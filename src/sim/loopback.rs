//! The world over HTTP on loopback: to its clients a metadata service, a Kubernetes API and a load balancer.
//!
//! Time is the given clock's. What the world does by itself happens when it is due: a task sleeps until then.

mod control;
mod elb;
mod imds;
mod kubernetes;
mod objects;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::stage::Stage;

/// No request of the agent comes near this.
const REQUEST_LIMIT: usize = 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The world's servers. They end when this is dropped.
#[derive(Debug)]
pub struct Loopback {
    /// Where the metadata service is.
    pub metadata: SocketAddr,
    /// Where the Kubernetes API is.
    pub kubernetes: SocketAddr,
    /// Where the load balancer is.
    pub balancer: SocketAddr,
    _servers: JoinSet<()>,
}

impl Loopback {
    /// Serves the world on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// When there are none.
    pub async fn serve(stage: &Arc<Stage>) -> io::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut servers = JoinSet::new();
        servers.spawn(stage.clone().keep_time());
        let metadata = listen(&mut servers, any, stage, imds::answer).await?;
        let kubernetes = listen(&mut servers, any, stage, kubernetes::answer).await?;
        let balancer = listen(&mut servers, any, stage, elb::answer).await?;
        Ok(Self {
            metadata,
            kubernetes,
            balancer,
            _servers: servers,
        })
    }
}

/// A metadata service alone. It ends when this is dropped.
#[derive(Debug)]
pub struct MetadataServer {
    /// Where it is.
    pub address: SocketAddr,
    servers: JoinSet<()>,
}

impl MetadataServer {
    /// Serves the world's metadata at `address`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(stage: &Arc<Stage>, address: SocketAddr) -> io::Result<Self> {
        let mut servers = JoinSet::new();
        let address = listen(&mut servers, address, stage, imds::answer).await?;
        Ok(Self { address, servers })
    }

    /// Takes orders about it on this port of 127.0.0.1, and on no other address, whatever the metadata is served on:
    /// whoever can give them can have a node drained.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub async fn take_orders(&mut self, stage: &Arc<Stage>, port: u16) -> io::Result<SocketAddr> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        listen(&mut self.servers, address, stage, control::answer).await
    }
}

/// A request, read to its end; its extensions have the [`SocketAddr`] of who asks.
type Read = Request<Bytes>;

/// No answer, and the connection is reset.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset")]
struct Reset;

/// The port of whoever asks.
fn asker(request: &Read) -> Option<u16> {
    request.extensions().get().map(SocketAddr::port)
}

async fn listen<F, A>(
    servers: &mut JoinSet<()>,
    address: SocketAddr,
    stage: &Arc<Stage>,
    answer: F,
) -> io::Result<SocketAddr>
where
    F: Fn(Arc<Stage>, Read) -> A + Copy + Send + 'static,
    A: Future<Output: Into<Option<Response<Body>>>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let stage = stage.clone();
    servers.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // A connection that could not be accepted is its client's to try again.
                Ok((stream, peer)) = listener.accept() => {
                    connections.spawn(converse(stage.clone(), stream, peer, answer));
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    });
    Ok(address)
}

/// Answers on one connection until it is closed.
async fn converse<F, A>(stage: Arc<Stage>, stream: TcpStream, peer: SocketAddr, answer: F)
where
    F: Fn(Arc<Stage>, Read) -> A + Copy,
    A: Future<Output: Into<Option<Response<Body>>>>,
{
    let serve = service_fn(move |request| respond(stage.clone(), request, peer, answer));
    let mut connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
    let ended = (&mut connection).await;
    if ended.is_err_and(|error| error.is_user()) {
        // Closed without a goodbye: the client sees a reset, not an end. It may be gone already.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

async fn respond<F, A>(
    stage: Arc<Stage>,
    request: Request<Incoming>,
    peer: SocketAddr,
    answer: F,
) -> Result<Response<Body>, Reset>
where
    F: Fn(Arc<Stage>, Read) -> A,
    A: Future<Output: Into<Option<Response<Body>>>>,
{
    let (mut head, body) = request.into_parts();
    head.extensions.insert(peer);
    match Limited::new(body, REQUEST_LIMIT).collect().await {
        Ok(body) => {
            let answered = answer(stage, Request::from_parts(head, body.to_bytes())).await;
            answered.into().ok_or(Reset)
        }
        Err(_) => Ok(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain",
            String::new(),
        )),
    }
}

/// A whole answer.
fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let body = Full::new(Bytes::from(body)).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
