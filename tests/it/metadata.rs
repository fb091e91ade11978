//! A metadata service for tests that run the agent as a process: a fixed notice, or none.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct MetadataService {
    pub url: String,
    notice: Arc<Mutex<Option<Timestamp>>>,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl MetadataService {
    /// Serves the metadata of this instance, without a notice.
    pub async fn start(instance: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let notice = Arc::new(Mutex::new(None));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (served, asked, instance) = (notice.clone(), requests.clone(), instance.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(answer(
                    stream,
                    served.clone(),
                    asked.clone(),
                    instance.clone(),
                ));
            }
        });
        Self {
            url,
            notice,
            requests,
            task,
        }
    }

    /// From now on there is a notice whose time is `left` away.
    pub fn announce(&self, left: Duration) {
        let time = Timestamp::try_from(SystemTime::now() + left).expect("a time");
        *self.notice.lock().expect("nobody panics with it") = Some(time);
    }

    /// The request lines so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    mut stream: TcpStream,
    notice: Arc<Mutex<Option<Timestamp>>>,
    requests: Arc<Mutex<Vec<String>>>,
    instance: String,
) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let line = request.lines().next().unwrap_or_default().to_owned();
    requests
        .lock()
        .expect("nobody panics with it")
        .push(line.clone());
    let notice = *notice.lock().expect("nobody panics with it");
    let (status, body) = match line.split(' ').nth(1).unwrap_or_default() {
        "/latest/api/token" => ("200 OK", "token".to_owned()),
        "/latest/meta-data/spot/instance-action" => match notice {
            Some(time) => (
                "200 OK",
                format!(r#"{{"action":"terminate","time":"{time:.0}"}}"#),
            ),
            None => ("404 Not Found", "not found".to_owned()),
        },
        "/latest/meta-data/instance-life-cycle" => ("200 OK", "spot".to_owned()),
        "/latest/dynamic/instance-identity/document" => (
            "200 OK",
            format!(
                r#"{{"instanceId":"{instance}","instanceType":"m6g.large","availabilityZone":"eu-west-1a"}}"#
            ),
        ),
        _ => ("404 Not Found", "not found".to_owned()),
    };
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&Timestamp::now())
        .expect("a date");
    let reply = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: close\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // An agent that was killed does not wait for its reply.
    let _ = stream.write_all(reply.as_bytes()).await;
}
