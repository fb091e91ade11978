//! The way of a request behind the load balancer: the node ports of the instances, what kube-proxy makes of the
//! EndpointSlices that the real controller writes, and the servers in the pods.
//!
//! Everything is a socket on loopback: a request really waits for its answer, and is really cut off when what it waits for
//! goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::follow::{Change, follow};

/// From a change of an EndpointSlice until the nodes send requests accordingly.
const NODES_TURN: Duration = Duration::from_secs(1);

/// The Service's pods and the nodes that lead to them, as `externalTrafficPolicy: Cluster` has it.
#[derive(Debug, Default)]
pub struct Site {
    /// By name: no two pods of a Deployment have the same. With the node that each is on.
    servers: Mutex<BTreeMap<String, (String, Listening)>>,
    /// The nodes that are gone: nothing runs there, whatever the API server still says.
    lost: Mutex<BTreeSet<String>>,
    /// By slice: pod and whether it is ready, or else still serving.
    endpoints: Mutex<BTreeMap<String, Vec<Endpoint>>>,
    /// By instance.
    ports: Mutex<BTreeMap<String, Listening>>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    pod: String,
    is_ready: bool,
    is_serving: bool,
}

/// A listener and its connections, which are cut off when it is dropped.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// Follows the Service of this name and the pods of its namespace.
    pub fn of(client: &Client, namespace: &str) -> Arc<Self> {
        let site = Arc::new(Self::default());
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let of_pods = site.clone();
        tokio::spawn(follow(pods, move |change| of_pods.clone().see_pods(change)));
        let of_slices = site.clone();
        tokio::spawn(follow(slices, move |change| {
            let site = of_slices.clone();
            tokio::spawn(async move {
                tokio::time::sleep(NODES_TURN).await;
                site.see_slices(change);
            });
        }));
        site
    }

    /// The instance has joined: its port is open.
    pub async fn open(self: &Arc<Self>, instance: &str) {
        let site = self.clone();
        let port = listen(move |stream| forward(site.clone(), stream)).await;
        locked(&self.ports).insert(instance.to_owned(), port);
    }

    /// The instance is gone, with every connection through it and every pod on it.
    pub fn lose(&self, instance: &str, node: &str) {
        locked(&self.ports).remove(instance);
        locked(&self.lost).insert(node.to_owned());
        locked(&self.servers).retain(|_, (on, _)| on != node);
    }

    /// The port of an instance, if it is there.
    pub fn port(&self, instance: &str) -> Option<SocketAddr> {
        locked(&self.ports).get(instance).map(|port| port.address)
    }

    fn see_pods(self: Arc<Self>, change: Change<Pod>) {
        let (pods, is_gone) = match change {
            Change::All(pods) => (pods, false),
            Change::Applied(pod) => (vec![pod], false),
            Change::Deleted(pod) => (vec![pod], true),
        };
        for pod in pods {
            let name = pod.metadata.name.unwrap_or_default();
            let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            let phase = pod.status.and_then(|status| status.phase);
            let runs = phase.as_deref() == Some("Running") && !locked(&self.lost).contains(&node);
            if is_gone {
                locked(&self.servers).remove(&name);
            } else if runs && !locked(&self.servers).contains_key(&name) {
                let site = self.clone();
                tokio::spawn(async move {
                    let server = listen(serve).await;
                    locked(&site.servers).entry(name).or_insert((node, server));
                });
            }
        }
    }

    fn see_slices(&self, change: Change<EndpointSlice>) {
        let mut endpoints = locked(&self.endpoints);
        let name = |slice: &EndpointSlice| slice.metadata.name.clone().unwrap_or_default();
        match change {
            Change::All(slices) => {
                *endpoints = slices
                    .iter()
                    .map(|slice| (name(slice), of_slice(slice)))
                    .collect();
            }
            Change::Applied(slice) => {
                endpoints.insert(name(&slice), of_slice(&slice));
            }
            Change::Deleted(slice) => {
                endpoints.remove(&name(&slice));
            }
        }
    }

    /// Where kube-proxy leads a new connection: to any ready pod, or, if there is none, to one that still serves while it
    /// terminates.
    fn endpoint(&self) -> Option<SocketAddr> {
        let endpoints = locked(&self.endpoints);
        let all: Vec<&Endpoint> = endpoints.values().flatten().collect();
        let mut fit: Vec<_> = all.iter().filter(|endpoint| endpoint.is_ready).collect();
        if fit.is_empty() {
            fit = all.iter().filter(|endpoint| endpoint.is_serving).collect();
        }
        let chosen = fit.get(fastrand::usize(..fit.len().max(1)))?;
        locked(&self.servers)
            .get(&chosen.pod)
            .map(|(_, server)| server.address)
    }
}

fn of_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let endpoints = slice.endpoints.iter().map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        let pod = endpoint.target_ref.clone().and_then(|pod| pod.name);
        Endpoint {
            pod: pod.unwrap_or_default(),
            is_ready: conditions.ready.unwrap_or(true),
            is_serving: conditions.serving.unwrap_or(true),
        }
    });
    endpoints.collect()
}

/// Listens on loopback, and deals with each connection beside the others.
async fn listen<F, T>(deal: F) -> Listening
where
    F: Fn(TcpStream) -> T + Send + 'static,
    T: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    connections.spawn(deal(stream));
                }
                // That one of them broke is for its client to tell.
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
    });
    Listening { address, task }
}

async fn forward(site: Arc<Site>, mut from: TcpStream) -> std::io::Result<()> {
    let Some(endpoint) = site.endpoint() else {
        return Ok(());
    };
    let mut to = TcpStream::connect(endpoint).await?;
    tokio::io::copy_bidirectional(&mut from, &mut to).await?;
    Ok(())
}

/// Answers `GET /delay/SECONDS` after so long, and anything else at once, as httpbin does.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 512];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => return Ok(()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let seconds = path
        .strip_prefix("/delay/")
        .and_then(|text| text.parse().ok());
    tokio::time::sleep(Duration::from_secs_f64(seconds.unwrap_or_default())).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        .await
}
