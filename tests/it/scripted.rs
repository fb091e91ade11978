//! A scripted HTTP/1.1 server on loopback: it answers request after request as it was told, and keeps what was asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// Method and target.
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What the server does with one request.
pub enum Reply {
    /// A whole answer.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// These bytes, then the end of the connection.
    Torn(String),
    /// These bytes, then a TCP reset.
    Reset(String),
    /// These bytes, then nothing, and the connection stays open.
    Silent(String),
    /// A chunked answer 200 whose pieces come from outside; it ends when the sender is dropped.
    Pieces(UnboundedReceiver<String>),
    /// A chunked answer 200 that repeats one piece as long as the client reads, counting the bytes that left.
    Flood(String, Arc<AtomicUsize>),
}

/// A JSON answer.
pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    typed(status, "application/json", body)
}

/// An answer of another type.
pub fn typed(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Answer {
        status,
        headers: vec![("Content-Type", content_type.to_owned())],
        body: body.into(),
    }
}

impl Reply {
    /// The same with one header more.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// The server; it ends with the test's runtime.
pub struct Server {
    pub url: String,
    received: watch::Sender<Vec<Received>>,
}

impl Server {
    /// Starts one that gives these replies, in this order, over as many connections as it takes.
    pub async fn replying(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = watch::Sender::default();
        let script = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let log = received.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(connection, stream, script.clone(), log.clone()));
            }
        });
        Self { url, received }
    }

    /// Everything that was asked so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    /// Waits until this much was asked.
    pub async fn until_received(&self, requests: usize) {
        let mut received = self.received.subscribe();
        let enough = received.wait_for(|received| received.len() >= requests);
        enough.await.expect("a server");
    }

    /// The only thing that was asked.
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received[0].clone()
    }
}

/// An address on which connections do not come about, as behind a firewall that drops them without a word.
pub struct Unmet {
    pub url: String,
    _listener: TcpListener,
    _waiting: std::net::TcpStream,
}

impl Unmet {
    /// Listens, but has no room for another connection.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any_port = ([127, 0, 0, 1], 0).into();
        socket.bind(any_port).expect("a port");
        let listener = socket.listen(0).expect("a listener");
        let address = listener.local_addr().expect("an address");
        Self {
            url: format!("http://{address}"),
            _listener: listener,
            _waiting: std::net::TcpStream::connect(address).expect("a connection"),
        }
    }
}

impl Received {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

async fn serve(
    connection: usize,
    stream: TcpStream,
    script: Arc<Mutex<VecDeque<Reply>>>,
    log: watch::Sender<Vec<Received>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = receive(connection, &mut stream).await {
        log.send_modify(|received| received.push(request));
        let reply = script.lock().expect("no panic").pop_front();
        match reply.expect("a reply for every request") {
            Reply::Answer {
                status,
                headers,
                body,
            } => {
                let mut answer = format!("HTTP/1.1 {status} Whatever\r\n");
                for (name, value) in headers {
                    answer.extend([name, ": ", &value, "\r\n"]);
                }
                let length = body.len().to_string();
                answer.extend(["Content-Length: ", &length, "\r\n\r\n"]);
                let answer = [answer.as_bytes(), &body].concat();
                // A client that has heard enough may have gone.
                let _ = stream.write_all(&answer).await;
            }
            Reply::Torn(bytes) => {
                stream.write_all(bytes.as_bytes()).await.expect("a reader");
                return;
            }
            Reply::Reset(bytes) => {
                stream.write_all(bytes.as_bytes()).await.expect("a reader");
                stream.get_ref().set_zero_linger().expect("a socket");
                return;
            }
            Reply::Silent(bytes) => {
                // A client that has heard enough may have gone.
                let _ = stream.write_all(bytes.as_bytes()).await;
                std::future::pending::<()>().await;
            }
            Reply::Pieces(mut pieces) => {
                begin_chunks(&mut stream).await;
                while let Some(piece) = pieces.recv().await {
                    let _ = stream.write_all(chunk(&piece).as_bytes()).await;
                }
                let _ = stream.write_all(b"0\r\n\r\n").await;
            }
            Reply::Flood(piece, written) => {
                begin_chunks(&mut stream).await;
                let chunk = chunk(&piece);
                while stream.write_all(chunk.as_bytes()).await.is_ok() {
                    written.fetch_add(chunk.len(), Ordering::Relaxed);
                }
                return;
            }
        }
    }
}

async fn begin_chunks(stream: &mut BufReader<TcpStream>) {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("a reader");
}

fn chunk(piece: &str) -> String {
    format!("{:x}\r\n{piece}\r\n", piece.len())
}

async fn receive(connection: usize, stream: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let mut lines = head.trim_end().lines();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).expect("UTF-8");
    Some(Received {
        connection,
        line,
        headers,
        body,
    })
}
