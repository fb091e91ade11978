//! The two processes: where their binaries come from, what they are given, and when they are ready.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Exit code of `build.sh` for "no Go, and no `KUBEBUILDER_ASSETS`".
const NO_GO: i32 = 3;
/// A port that was free when asked for may be taken a moment later; so often in a row it is something else.
const ATTEMPTS: u32 = 3;
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A running etcd and kube-apiserver. They end with this process, however it ends (see `serve.sh`).
#[derive(Debug)]
pub struct Server {
    pub url: String,
    /// Certificates, audit log and the servers' own logs; on tmpfs where there is one.
    pub directory: PathBuf,
    /// The admin's token, in the group `system:masters`.
    pub token: String,
    /// Its standard input is what keeps the servers alive.
    _serve: Child,
}

/// Why there is no server.
#[derive(Debug)]
pub enum StartError {
    /// Nothing to build it with on this machine; `build.sh` said so, loudly.
    NoGo,
    Failed(String),
}

impl Server {
    /// Builds what is missing and starts both servers, kube-apiserver with these flags more; returns when `/readyz` says
    /// ok.
    pub async fn start(flags: &[&str]) -> Result<Self, StartError> {
        let binaries = binaries("server").await?;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match Self::start_once(&binaries, flags).await {
                Ok(server) => return Ok(server),
                Err(why) => last = why,
            }
        }
        Err(StartError::Failed(last))
    }

    async fn start_once(binaries: &Path, flags: &[&str]) -> Result<Self, String> {
        let directory =
            new_directory().map_err(|error| format!("no directory for the servers: {error}"))?;
        let token = "admin-of-the-tests".to_owned();
        write_inputs(&directory, &token)
            .map_err(|error| format!("cannot write into {}: {error}", directory.display()))?;
        let [etcd_port, api_port] =
            free_ports().map_err(|error| format!("no free port: {error}"))?;
        let mut serve = Command::new("bash")
            .arg(source("tests/it/control_plane/serve.sh"))
            .args([binaries, &directory])
            .args([etcd_port.to_string(), api_port.to_string()])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Of a signal to the group of the tests only its effect on them counts: the end of standard input.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot run bash: {error}"))?;
        let url = format!("https://127.0.0.1:{api_port}");
        ready(&url, &directory, &token, &mut serve).await?;
        Ok(Self {
            url,
            directory,
            token,
            _serve: serve,
        })
    }
}

/// A path in the checkout.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The directory of a part of the control plane, which is built if it is missing.
pub async fn binaries(part: &str) -> Result<PathBuf, StartError> {
    let build = source("tests/control-plane/build.sh");
    let cannot = |error| StartError::Failed(format!("cannot run {}: {error}", build.display()));
    // Its progress and its complaints go past libtest, which would keep them back. Not `output()`: it captures both.
    let building = tokio::process::Command::new(&build)
        .arg(part)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(cannot)?;
    let output = building.wait_with_output().await.map_err(cannot)?;
    let directory = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(PathBuf::from);
    match (output.status.code(), directory) {
        (Some(0), Some(directory)) => Ok(directory),
        (Some(NO_GO), _) => Err(StartError::NoGo),
        _ => Err(StartError::Failed(format!(
            "{} ended with {}",
            build.display(),
            output.status
        ))),
    }
}

fn new_directory() -> std::io::Result<PathBuf> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("spot-interrupt-handler-api.");
    let shm = Path::new("/dev/shm");
    let directory = if shm.is_dir() {
        builder.tempdir_in(shm)
    } else {
        builder.tempdir()
    };
    // `serve.sh` removes it, which also works when this process is killed.
    directory.map(tempfile::TempDir::keep)
}

fn write_inputs(directory: &Path, token: &str) -> std::io::Result<()> {
    let key = rcgen::KeyPair::generate().expect("ring generates an EC key");
    fs::write(directory.join("sa.key"), key.serialize_pem())?;
    fs::write(directory.join("sa.pub"), key.public_key_pem())?;
    fs::write(
        directory.join("tokens.csv"),
        format!("{token},admin,admin,\"system:masters\"\n"),
    )?;
    fs::write(directory.join("audit.yaml"), AUDIT_POLICY)
}

/// The calls an agent makes, with their bodies. `ResponseStarted` stays for watches, whose `ResponseComplete` comes only
/// when they end.
const AUDIT_POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:apiserver"]
  - level: Request
    resources:
      - group: ""
        resources: [nodes, pods, pods/eviction, pods/status, events]
  - level: Metadata
"#;

/// Two ports that nothing listens on. Both are held until both are known, so they differ.
fn free_ports() -> std::io::Result<[u16; 2]> {
    let etcd = TcpListener::bind(("127.0.0.1", 0))?;
    let api = TcpListener::bind(("127.0.0.1", 0))?;
    Ok([etcd.local_addr()?.port(), api.local_addr()?.port()])
}

async fn ready(url: &str, directory: &Path, token: &str, serve: &mut Child) -> Result<(), String> {
    let until = Instant::now() + READY_WITHIN;
    let mut last = "no certificate yet".to_owned();
    while Instant::now() < until {
        if let Some(status) = serve.try_wait().map_err(|error| error.to_string())? {
            return Err(ended_early(directory, status));
        }
        // The server writes its own certificate as it starts.
        if directory.join("apiserver.crt").exists() {
            match is_ready(url, directory, token).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("not ready within {READY_WITHIN:?}: {last}"))
}

async fn is_ready(
    url: &str,
    directory: &Path,
    token: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let client =
        super::client_for(&super::kubeconfig(url, &super::ca_in(directory), token)).await?;
    client
        .request_text(http::Request::get("/readyz").body(Vec::new())?)
        .await?;
    Ok(())
}

fn ended_early(directory: &Path, status: ExitStatus) -> String {
    let tail = |name: &str| {
        let log = fs::read_to_string(directory.join(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        format!("{name}: {}", lines.join(" | "))
    };
    let story = format!(
        "serve.sh ended with {status}; {}; {}",
        tail("etcd.log"),
        tail("kube-apiserver.log")
    );
    // Nothing else removes it after an early end; that it stays behind would be no reason to fail.
    let _ = fs::remove_dir_all(directory);
    story
}
