//! The way to AWS through a proxy, and who takes it.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::surroundings::said;
use super::{ARN, deregistered, form};
use crate::scripted::{Server, json, typed};

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// A load balancer's TLS front, reached as a proxy that tunnels to it or directly.
struct Front {
    port: u16,
    /// The heads of the requests to the proxy.
    tunnels: watch::Receiver<Vec<String>>,
    home: TempDir,
}

impl Front {
    /// A proxy all of whose tunnels lead to `server`, with a certificate for `name`.
    async fn proxy(name: &str, server: &Server) -> Self {
        Self::of(name, server, true).await
    }

    /// `server` itself over TLS.
    async fn direct(name: &str, server: &Server) -> Self {
        Self::of(name, server, false).await
    }

    async fn of(name: &str, server: &Server, is_proxy: bool) -> Self {
        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("ca.pem"), issued.cert.pem()).expect("a file");
        let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key.into())
            .expect("a key that fits");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (log, tunnels) = watch::channel(Vec::new());
        let behind = server.url.trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if is_proxy {
                    let head = head(&mut stream).await;
                    log.send_modify(|heads| heads.push(head));
                    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
                    stream.write_all(established).await.expect("a client");
                }
                // A client that does not trust us hangs up here.
                let Ok(mut near) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut far = TcpStream::connect(&behind).await.expect("the server");
                tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        });
        Self {
            port,
            tunnels,
            home,
        }
    }

    /// What has to be trusted.
    fn authority(&self) -> String {
        self.home.path().join("ca.pem").display().to_string()
    }

    fn tunnels(&self) -> Vec<String> {
        self.tunnels.borrow().clone()
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    String::from_utf8(head).expect("ASCII")
}

#[tokio::test]
async fn a_call_over_tls_goes_through_the_proxy_and_shows_it_nothing_but_the_host() {
    let server = Server::replying([deregistered()]).await;
    let proxy = Front::proxy("elasticloadbalancing.eu-west-1.amazonaws.com", &server).await;
    let url = format!("http://user:secret@127.0.0.1:{}", proxy.port);
    let trusted = proxy.authority();
    let more = [("HTTPS_PROXY", &*url), ("SSL_CERT_FILE", &*trusted)];
    let said = said(&["deregister"], &[&KEYS[..], &more].concat()).await;
    assert_eq!(said, ["done"], "{:?}", proxy.tunnels());
    assert_eq!(form(&server.only())["Action"], "DeregisterTargets");
    let tunnels = proxy.tunnels();
    let [head] = &tunnels[..] else {
        panic!("{tunnels:?}");
    };
    let host = "elasticloadbalancing.eu-west-1.amazonaws.com:443";
    assert!(
        head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")),
        "{head}"
    );
    // "user:secret"
    let basic = "proxy-authorization: basic dxnlcjpzzwnyzxq=";
    assert!(head.to_lowercase().contains(basic), "{head}");
    assert!(!head.contains("AKIDENVIRONMENT"), "{head}");
}

/// What a proxy that refuses everything was asked for, and what came of it.
async fn refused_by_proxy(
    calls: &[&str],
    refusals: usize,
    environment: &[(&str, &str)],
) -> (Vec<String>, Vec<String>) {
    let refusals = (0..refusals).map(|_| typed(403, "text/plain", "no"));
    let proxy = Server::replying(refusals).await;
    // As some write it: in lower case and without a scheme.
    let address = proxy.url.trim_start_matches("http://");
    let said = said(calls, &[environment, &[("https_proxy", address)]].concat()).await;
    let received = proxy.received().into_iter();
    (received.map(|request| request.line).collect(), said)
}

#[tokio::test]
async fn the_host_is_that_of_the_groups_region_and_partition() {
    let china = ARN
        .replace("arn:aws:", "arn:aws-cn:")
        .replace("eu-west-1", "cn-north-1");
    let government = ARN
        .replace("arn:aws:", "arn:aws-us-gov:")
        .replace("eu-west-1", "us-gov-west-1");
    let calls = [ARN, &china, &government].map(|arn| format!("deregister={arn}"));
    let calls = calls.each_ref().map(String::as_str);
    let (asked, said) = refused_by_proxy(&calls, 3, &KEYS).await;
    assert_eq!(said, ["connecting to Elastic Load Balancing"; 3]);
    assert_eq!(
        asked,
        [
            "CONNECT elasticloadbalancing.eu-west-1.amazonaws.com:443",
            "CONNECT elasticloadbalancing.cn-north-1.amazonaws.com.cn:443",
            "CONNECT elasticloadbalancing.us-gov-west-1.amazonaws.com:443",
        ]
    );
}

#[tokio::test]
async fn the_endpoint_is_of_the_kind_that_the_environment_asks_for() {
    let call = format!("deregister={ARN}");
    for (variable, host) in [
        (
            "AWS_USE_FIPS_ENDPOINT",
            "elasticloadbalancing-fips.eu-west-1.amazonaws.com",
        ),
        (
            "AWS_USE_DUALSTACK_ENDPOINT",
            "elasticloadbalancing.eu-west-1.api.aws",
        ),
    ] {
        let environment = [KEYS[0], KEYS[1], KEYS[2], (variable, "true")];
        let (asked, _) = refused_by_proxy(&[&call], 1, &environment).await;
        assert_eq!(asked, [format!("CONNECT {host}:443")]);
    }
}

#[tokio::test]
async fn credentials_of_a_web_identity_are_asked_for_in_the_partition_of_the_group() {
    let china = ARN
        .replace("arn:aws:", "arn:aws-cn:")
        .replace("eu-west-1", "cn-north-1");
    let home = tempfile::tempdir().expect("a directory");
    let token = home.path().join("token");
    std::fs::write(&token, "token").expect("a file");
    let token = token.display().to_string();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &*token),
        ("AWS_ROLE_ARN", "arn:aws-cn:iam::111122223333:role/handler"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let call = format!("deregister={china}");
    let (asked, said) = refused_by_proxy(&[&call], 1, &environment).await;
    assert_eq!(said, ["getting AWS credentials"]);
    assert_eq!(asked, ["CONNECT sts.cn-north-1.amazonaws.com.cn:443"]);
}

#[tokio::test]
async fn what_is_not_over_tls_never_takes_the_proxy() {
    let keys = r#"{"AccessKeyId":"AKIDAGENT","SecretAccessKey":"secret","Token":"t","Expiration":"2126-01-15T08:00:00Z"}"#;
    let provider = Server::replying([json(200, keys)]).await;
    let token = typed(200, "text/plain", "token");
    let token = token.with("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600");
    let metadata = Server::replying([token, typed(200, "text/plain", "eu-west-1")]).await;
    let server = Server::replying([deregistered()]).await;
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*metadata.url),
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &*server.url),
    ];
    let (asked, said) = refused_by_proxy(&["warm", "deregister"], 0, &environment).await;
    assert_eq!(said, ["done", "done"]);
    assert_eq!(asked, Vec::<String>::new());
    provider.only();
    server.only();
    assert_eq!(metadata.received().len(), 2);
}

#[tokio::test]
async fn a_host_that_no_proxy_names_is_reached_directly() {
    let server = Server::replying([deregistered()]).await;
    let front = Front::direct("localhost", &server).await;
    let endpoint = format!("https://localhost:{}", front.port);
    let trusted = front.authority();
    let reached = [
        ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &*endpoint),
        ("SSL_CERT_FILE", &*trusted),
    ];
    let environment = [&KEYS[..], &reached].concat();
    let (asked, said) = refused_by_proxy(&["deregister"], 1, &environment).await;
    assert_eq!(said, ["connecting to Elastic Load Balancing"]);
    assert_eq!(asked, [format!("CONNECT localhost:{}", front.port)]);
    let excepted = [&environment[..], &[("NO_PROXY", "10.0.0.0/8,localhost")]].concat();
    let (asked, said) = refused_by_proxy(&["deregister"], 0, &excepted).await;
    assert_eq!(said, ["done"]);
    assert_eq!(asked, Vec::<String>::new());
    server.only();
}
