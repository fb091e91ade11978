//! A longer way to the API server: a relay that delays what passes through it and does not narrow it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Relays to `server`, each direction delayed by half of `round_trip`, and returns where it listens.
pub async fn relay(server: SocketAddr, round_trip: Duration) -> SocketAddr {
    counting_relay(server, round_trip).await.0
}

/// The same with a count of the bytes that have passed, both ways.
pub async fn counting_relay(
    server: SocketAddr,
    round_trip: Duration,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let passed = Arc::new(AtomicUsize::new(0));
    let count = passed.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.expect("the server");
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a socket");
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = pass(from_client, to_server, round_trip / 2, count.clone());
            let back = pass(from_server, to_client, round_trip / 2, count.clone());
            tokio::spawn(there);
            tokio::spawn(back);
        }
    });
    (address, passed)
}

/// Everything that is read is written that much later, in its order; any amount is under way at once.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    passed: Arc<AtomicUsize>,
) {
    let (sender, mut under_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let writing = tokio::spawn(async move {
        while let Some((arrives, bytes)) = under_way.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let arrives = Instant::now() + delay;
        passed.fetch_add(length, Ordering::Relaxed);
        if sender.send((arrives, chunk[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writing.await;
}
