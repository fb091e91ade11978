//! `mock-imds` as a process, as those see it who ask it: clients of HTTP, the AWS SDK, the agent.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use serde_json::Value;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::agent_process::AgentProcess;

/// No answer of a test is further away than this.
const WITHIN: Duration = Duration::from_secs(60);

const LIFE: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";
const NOTICE: &str = "/latest/meta-data/spot/instance-action";

/// A running metadata service. It is killed when it is dropped.
struct Mock {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    metadata: String,
    control: String,
}

/// What came back over a connection of its own.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<String>,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line.starts_with(header))
    }
}

impl Mock {
    async fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
            .args(["mock-imds", "--port", "0", "--control-port", "0"])
            .args(flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut mock = Self {
            _child: child,
            lines: BufReader::new(stdout).lines(),
            metadata: String::new(),
            control: String::new(),
        };
        mock.metadata = mock.line_after("metadata service: http://").await;
        mock.control = mock.line_after("control: http://").await;
        mock
    }

    /// The rest of the next line that begins so.
    async fn line_after(&mut self, start: &str) -> String {
        loop {
            let line = timeout(WITHIN, self.lines.next_line()).await;
            let line = line.expect("a line in time").expect("text");
            let line = line.unwrap_or_else(|| panic!("it ended before {start:?}"));
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }

    async fn token(&self) -> String {
        let reply = self.ask("PUT", "/latest/api/token", &[(LIFE, "60")]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        exchange(&self.metadata, method, path, headers, "")
            .await
            .expect("a reply")
    }

    /// With a token of its own.
    async fn get(&self, path: &str) -> Reply {
        let token = self.token().await;
        self.ask("GET", path, &[(TOKEN, &token)]).await
    }

    async fn order(&self, method: &str, path: &str, body: &str) -> Reply {
        exchange(&self.control, method, path, &[], body)
            .await
            .expect("a reply")
    }

    async fn journal(&self) -> Vec<Value> {
        let reply = self.order("GET", "/journal", "").await;
        let lines = reply.body.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("JSON")).collect()
    }
}

/// One request, and what comes until the other side closes.
async fn exchange(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    if !headers
        .iter()
        .any(|(name, _)| *name == TOKEN || *name == LIFE)
    {
        request.push_str("Connection: close\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .ok_or(ErrorKind::UnexpectedEof)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Ok(Reply {
        status: status.and_then(|text| text.parse().ok()).expect("a status"),
        headers: lines.map(str::to_lowercase).collect(),
        body: body.to_owned(),
    })
}

#[tokio::test]
async fn it_answers_as_ec2_does() {
    let mock = Mock::start(&[]).await;
    let reply = mock.get("/latest/meta-data/instance-life-cycle").await;
    assert_eq!((reply.status, &*reply.body), (200, "spot"));
    assert!(
        reply.has("date: ") && reply.has("connection: close"),
        "{reply:?}"
    );
    let reply = mock.get("/latest/meta-data/placement/").await;
    assert_eq!(
        reply.body,
        "availability-zone\navailability-zone-id\nregion"
    );
    assert_eq!(mock.get(NOTICE).await.status, 404);

    for (life, status) in [
        ("0", 400),
        ("1", 200),
        ("21600", 200),
        ("21601", 400),
        ("x", 400),
    ] {
        let reply = mock.ask("PUT", "/latest/api/token", &[(LIFE, life)]).await;
        assert_eq!(reply.status, status, "{life}");
        assert_eq!(
            reply.has(&format!("{}: {life}", LIFE.to_lowercase())),
            status == 200
        );
    }
    let proxied = [(LIFE, "60"), ("X-Forwarded-For", "10.0.0.1")];
    for (method, path, headers, status) in [
        ("PUT", "/latest/api/token", &[][..], 400),
        ("PUT", "/latest/api/token", &proxied, 403),
        ("GET", "/latest/api/token", &[], 405),
        ("GET", NOTICE, &[], 401),
        ("GET", NOTICE, &[(TOKEN, "made-up")], 401),
        ("POST", NOTICE, &[], 405),
        ("PUT", NOTICE, &[(LIFE, "60")], 405),
    ] {
        let reply = mock.ask(method, path, headers).await;
        assert_eq!(reply.status, status, "{method} {path} {headers:?}");
    }
}

#[tokio::test]
async fn it_takes_the_flags_of_awss_mock() {
    let time = "2031-02-03T04:05:06Z";
    let flags = [
        "-n",
        "127.0.0.1",
        "-d",
        "0",
        "-a",
        "stop",
        "-t",
        time,
        "--rebalance-delay-sec",
        "0",
    ];
    let mock = Mock::start(&[&flags[..], &["--tokens", "optional"]].concat()).await;
    let notice = mock.ask("GET", NOTICE, &[]).await.json();
    assert_eq!(notice["action"], "stop");
    assert_eq!(notice["time"], time);
    let path = "/latest/meta-data/events/recommendations/rebalance";
    assert!(mock.ask("GET", path, &[]).await.json()["noticeTime"].is_string());
    let path = "/latest/meta-data/spot/termination-time";
    assert_eq!(
        mock.ask("GET", path, &[]).await.status,
        404,
        "a stop has none"
    );
}

#[tokio::test]
async fn a_scenario_says_what_instance_it_is_and_what_becomes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.toml");
    let text = "description = \"x\"\n[expect]\nverdict = \"completed\"\n\
                [node]\ninstance_id = \"i-00000000000000042\"\n\
                [notice]\nafter = \"0s\"\naction = \"hibernate\"\n";
    std::fs::write(&file, text).expect("a file");
    let mock = Mock::start(&["--scenario", file.to_str().expect("a path")]).await;
    let id = mock.get("/latest/meta-data/instance-id").await.body;
    assert_eq!(id, "i-00000000000000042");
    assert_eq!(mock.get(NOTICE).await.json()["action"], "hibernate");
}

#[tokio::test]
async fn orders_change_what_it_says_while_it_runs() {
    let mock = Mock::start(&[]).await;
    let ordered = mock
        .order("POST", "/notice", r#"{"action":"stop","in":"90s"}"#)
        .await;
    assert_eq!(ordered.status, 200, "{ordered:?}");
    assert_eq!(mock.get(NOTICE).await.json(), ordered.json());
    let withdrawn = mock.order("DELETE", "/notice", "").await;
    assert_eq!(withdrawn.json()["withdrawn"], true);
    assert_eq!(mock.get(NOTICE).await.status, 404);
    let ordered = mock.order("POST", "/rebalance", "").await;
    let path = "/latest/meta-data/events/recommendations/rebalance";
    assert_eq!(mock.get(path).await.json(), ordered.json());
}

#[tokio::test]
async fn what_it_was_asked_is_told_with_time_port_and_status() {
    let mock = Mock::start(&[]).await;
    assert_eq!(mock.get(NOTICE).await.status, 404);
    let journal = mock.journal().await;
    let told: Vec<_> = journal
        .iter()
        .map(|line| (&line["method"], &line["path"], &line["status"]))
        .collect();
    let expected = [
        (
            &Value::from("PUT"),
            &Value::from("/latest/api/token"),
            &Value::from(200),
        ),
        (&Value::from("GET"), &Value::from(NOTICE), &Value::from(404)),
    ];
    assert_eq!(told, expected);
    for line in &journal {
        let port = line["source_port"].as_u64().expect("a port");
        assert!(
            port > 0 && line["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')),
            "{line}"
        );
    }
    assert_ne!(journal[0]["source_port"], journal[1]["source_port"]);
}

#[tokio::test]
async fn each_fault_is_seen_as_what_it_is_called() {
    let mock = Mock::start(&[]).await;
    let token = mock.token().await;
    let headers = [(TOKEN, &*token)];
    let ask = || exchange(&mock.metadata, "GET", "/latest/meta-data/mac", &headers, "");
    let order = async |kind: &str, span: &str| {
        let body = format!(r#"{{"kind":"{kind}","for":"{span}"}}"#);
        assert_eq!(
            mock.order("POST", "/fault", &body).await.status,
            200,
            "{kind}"
        );
    };
    for (kind, status) in [("500", 500), ("503", 503), ("401", 401)] {
        order(kind, "1h").await;
        assert_eq!(ask().await.expect("a reply").status, status, "{kind}");
    }
    assert_eq!(
        mock.token().await.len(),
        token.len(),
        "tokens are still given"
    );
    order("reset", "1h").await;
    let error = ask().await.expect_err("no reply");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    order("timeout", "1h").await;
    // Whoever waits waits in vain, and the others are answered: the journal is.
    let silent = timeout(Duration::from_millis(300), ask()).await;
    assert!(silent.is_err(), "{silent:?}");
    let journal = mock.journal().await;
    let unanswered = journal.iter().filter(|line| line.get("status").is_none());
    assert_eq!(unanswered.count(), 2);
    order("slow", "1h").await;
    assert_eq!(ask().await.expect("a reply").status, 200);
    order("500", "0s").await;
    assert_eq!(ask().await.expect("a reply").status, 200);
}

#[tokio::test]
async fn an_order_that_is_wrong_is_refused_with_the_field_and_its_value() {
    let mock = Mock::start(&[]).await;
    for (path, body, told) in [
        (
            "/notice",
            r#"{"action":"restart"}"#,
            &["\"action\"", "\"restart\"", "hibernate"][..],
        ),
        ("/notice", r#"{"in":"soon"}"#, &["\"in\"", "\"soon\""]),
        ("/notice", r#"{"in":120}"#, &["\"in\"", "120"]),
        ("/notice", r#"{"in":"25h"}"#, &["\"in\"", "\"25h\""]),
        (
            "/notice",
            r#"{"after":"5s"}"#,
            &["\"after\"", "\"5s\"", "action, in"],
        ),
        ("/notice", "[]", &["JSON object"]),
        ("/rebalance", r#"{"in":"5s"}"#, &["\"in\""]),
        (
            "/fault",
            r#"{"kind":"404","for":"5s"}"#,
            &["\"kind\"", "\"404\"", "503"],
        ),
        ("/fault", r#"{"kind":"500"}"#, &["\"for\"", "missing"]),
        ("/fault", r#"{"for":"5s"}"#, &["\"kind\"", "missing"]),
    ] {
        let reply = mock.order("POST", path, body).await;
        assert_eq!(reply.status, 400, "{path} {body}");
        let error = reply.json()["error"].as_str().expect("a text").to_owned();
        for part in told {
            assert!(error.contains(part), "{path} {body}: {error}");
        }
    }
    assert_eq!(mock.order("PUT", "/notice", "").await.status, 405);
    assert_eq!(mock.order("GET", "/", "").await.status, 404);
    let page = [("Origin", "http://elsewhere.example")];
    let reply = exchange(&mock.control, "POST", "/notice", &page, "").await;
    assert_eq!(reply.expect("a reply").status, 403);
    assert_eq!(mock.get(NOTICE).await.status, 404, "nothing was ordered");
}

#[tokio::test]
async fn orders_are_taken_on_loopback_alone() {
    let mock = Mock::start(&["--bind", "0.0.0.0"]).await;
    assert!(mock.metadata.starts_with("0.0.0.0:"), "{}", mock.metadata);
    assert!(mock.control.starts_with("127.0.0.1:"), "{}", mock.control);
}

#[tokio::test]
async fn the_aws_sdk_takes_it_for_a_metadata_service() {
    let mock = Mock::start(&["--notice-after", "0s"]).await;
    let http = aws_smithy_http_client::Builder::new().build_http();
    let client = aws_config::imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http))
        .endpoint(format!("http://{}", mock.metadata))
        .expect("an endpoint")
        .build();
    let role = client
        .get("/latest/meta-data/iam/security-credentials/")
        .await;
    let role = role.expect("a role");
    let path = format!(
        "/latest/meta-data/iam/security-credentials/{}",
        role.as_ref()
    );
    let credentials = client.get(&path).await.expect("credentials");
    let credentials: Value = serde_json::from_str(credentials.as_ref()).expect("JSON");
    assert_eq!(credentials["Code"], "Success");
    let notice = client.get(NOTICE).await.expect("a notice");
    assert!(notice.as_ref().contains("terminate"), "{}", notice.as_ref());
}

/// A Kubernetes API with one node and one pod, and a kubeconfig for it.
async fn cluster(folder: &tempfile::TempDir) -> (Loopback, std::path::PathBuf) {
    let scenario = "description = \"x\"\n[expect]\nverdict = \"completed\"\n\
                    [[pod]]\nname = \"web-1\"\ngrace = \"5s\"\nstops_after = \"100ms\"\nexpect = \"evicted\"\n";
    let scenario = Scenario::parse("test", scenario).expect("a scenario");
    let clock = Clock::real();
    let stage = Stage::new(scenario.world(Moment::ORIGIN), clock);
    let loopback = Loopback::serve(&stage).await.expect("servers");
    let file = folder.path().join("kubeconfig");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "users": [],
        "clusters": [{ "name": "x", "cluster": { "server": format!("http://{}", loopback.kubernetes) } }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "" } }],
    });
    std::fs::write(&file, config.to_string()).expect("a file");
    (loopback, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_is_led_by_orders_through_a_fault_to_a_drain() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_cluster, kubeconfig) = cluster(&folder).await;
    let mock = Mock::start(&[]).await;
    let endpoint = format!("http://{}", mock.metadata);
    let node = "ip-10-0-1-23.eu-west-1.compute.internal";
    let mut agent = AgentProcess::start(
        &kubeconfig,
        &[
            "--node-name",
            node,
            "--imds-endpoint",
            &endpoint,
            "--poll-interval",
            "1s",
        ],
    );
    agent.line_of("agent.started").await;
    mock.order("POST", "/fault", r#"{"kind":"503","for":"1h"}"#)
        .await;
    let unreachable = agent.line_of("imds.unreachable").await;
    assert_eq!(unreachable["http_status"], 503, "{unreachable}");
    mock.order("POST", "/fault", r#"{"kind":"503","for":"0s"}"#)
        .await;
    agent.line_of("imds.recovered").await;
    let ordered = mock
        .order("POST", "/notice", r#"{"in":"120s"}"#)
        .await
        .json();
    let notice = agent.line_of("interruption.notice").await;
    assert_eq!(notice["instance_id"], "i-0123456789abcdef0", "{notice}");
    let seconds = |text: &Value| text.as_str().map(|text| text[..19].to_owned());
    assert_eq!(seconds(&notice["notice_time"]), seconds(&ordered["time"]));
    let summary = agent.line_of("interruption.summary").await;
    assert_eq!(summary["pods_gone"], 1, "{summary}");
    assert_eq!(summary["outcome"], "completed", "{summary}");
}
