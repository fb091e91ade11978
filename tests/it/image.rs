//! The image, proved without an engine: the static binary runs in an empty root with only what the Dockerfile copies,
//! and talks TLS to a load balancer whose certificate only that root's CA bundle vouches for.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::dockerfile::{Dockerfile, Profile};
use crate::log_schema;
use crate::metadata::MetadataService;

/// A name that only the `hosts` file knows: what runs in the root has to resolve names there.
const HOST: &str = "elasticloadbalancing.test";

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

/// No line is further away than this.
const WITHIN: Duration = Duration::from_secs(60);

/// `p_type` of the program header that names a dynamic loader (ELF specification, "Program Header").
const PT_INTERP: u32 = 3;

/// Whether the kernel would start a dynamic loader for this ELF file of 64 bits.
fn needs_loader(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = &elf[at..at + size];
        bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    assert_eq!(&elf[..5], b"\x7fELF\x02", "an ELF file of 64 bits");
    let at = |value: u64| usize::try_from(value).expect("an offset");
    let (headers, size, count) = (at(number(32, 8)), at(number(54, 2)), at(number(56, 2)));
    (0..count).any(|index| number(headers + index * size, 4) == u64::from(PT_INTERP))
}

#[test]
fn a_dynamic_binary_would_be_noticed() {
    let own = std::fs::read(std::env::current_exe().expect("this test")).expect("its file");
    assert!(needs_loader(&own));
}

#[test]
fn the_image_holds_a_ca_bundle_and_the_binary_and_runs_it_as_nobody() {
    let image = Dockerfile::read();
    assert_eq!(image.base, "scratch");
    let targets: Vec<&str> = image.copies.iter().map(|(_, to)| to.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/spot-interrupt-handler"
        ]
    );
    assert_eq!(image.user, "65532:65532");
    assert_eq!(image.command, ["/spot-interrupt-handler", "run"]);
}

/// A load balancer over TLS that knows no targets. It returns its address and the certificate of its authority.
async fn load_balancer() -> (SocketAddr, String) {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let authority = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(authority.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![authority.cert.der().clone()], key)
        .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us ends the handshake.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut request = vec![0; 64 * 1024];
                    let _ = stream.read(&mut request).await;
                    let body = "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions/>\
                                </DescribeTargetHealthResult></DescribeTargetHealthResponse>";
                    let length = body.len();
                    let reply = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                    );
                    let _ = stream.write_all(reply.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    (address, authority.cert.pem())
}

/// Lays out what the Dockerfile copies, with this CA bundle, and the files that a kubelet mounts.
fn lay_out(root: &Path, image: &Dockerfile, binary: &Path, bundle: &str) {
    for (_, to) in &image.copies {
        let to = root.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        if to.extension().is_some_and(|extension| extension == "crt") {
            std::fs::write(to, bundle).expect("a CA bundle");
        } else {
            std::fs::copy(binary, to).expect("the binary");
        }
    }
    std::fs::write(root.join("etc/hosts"), format!("127.0.0.1 {HOST}\n")).expect("a hosts file");
    std::fs::write(root.join("etc/resolv.conf"), "").expect("a resolver's file");
    let nobody = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "none", "user": {"token": "none"}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    });
    std::fs::write(root.join("kubeconfig"), nobody.to_string()).expect("a kubeconfig");
}

/// The image's command in that root: as its user where we may become it, else in a user namespace of our own.
fn command_in(root: &Path, image: &Dockerfile) -> Command {
    let is_root = std::fs::metadata("/proc/self")
        .map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        .expect("a process");
    let mut command = if is_root {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={}", image.user));
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    // `chroot` is the administrator's, and not everywhere on the path of others.
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    command
        .arg(root)
        .args(&image.command)
        .env_clear()
        .env("PATH", path);
    command
}

/// Runs the image with this CA bundle until it says whether it could speak to the load balancer.
async fn verdict_with(
    bundle: &str,
    address: SocketAddr,
    image: &Dockerfile,
    binary: &Path,
) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    // Temporary folders are their owner's alone, and the image's user is another.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("an open folder");
    lay_out(folder.path(), image, binary, bundle);
    let metadata = MetadataService::start("i-0123456789abcdef0").await;
    metadata.announce(Duration::from_secs(25));
    let endpoint = format!("https://{HOST}:{}", address.port());
    let mut child = command_in(folder.path(), image)
        .args(["--node-name", "node", "--imds-endpoint", &metadata.url])
        .args(["--target-group-arn", ARN])
        .env("KUBECONFIG", "/kubeconfig")
        .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", endpoint)
        .env("AWS_ACCESS_KEY_ID", "none")
        .env("AWS_SECRET_ACCESS_KEY", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("chroot runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut seen = Vec::new();
    while let Some(line) = timeout(WITHIN, lines.next_line())
        .await
        .unwrap_or_else(|_| panic!("no verdict on the load balancer in {seen:#?}"))
        .expect("its output can be read")
    {
        let line = log_schema::read(&line);
        let event = line["event"].as_str().unwrap_or_default();
        if ["targets.deregistered", "targets.deregister_failed"].contains(&event) {
            return line;
        }
        seen.push(line);
    }
    panic!("the image ended: {seen:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_static_binary_runs_in_an_empty_root_and_trusts_whom_the_bundle_there_trusts() {
    let image = Dockerfile::read();
    let binary = tokio::task::block_in_place(|| image.build(Profile::Dev));
    assert!(!needs_loader(&std::fs::read(&binary).expect("the binary")));
    let (address, bundle) = load_balancer().await;
    let trusting = verdict_with(&bundle, address, &image, &binary);
    let other = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
    let other = other.cert.pem();
    let doubting = verdict_with(&other, address, &image, &binary);
    let (trusting, doubting) = tokio::join!(trusting, doubting);
    assert_eq!(trusting["event"], "targets.deregistered", "{trusting}");
    assert_eq!(trusting["state"], "not_registered");
    assert_eq!(doubting["event"], "targets.deregister_failed", "{doubting}");
    assert_eq!(doubting["error_kind"], "unreachable");
}
