//! The commands that play: `simulate` and `mock-imds`, as processes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// No simulation of a test is longer than 140 s at twenty times the speed.
const WITHIN: Duration = Duration::from_secs(60);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"));
    command.args(arguments).env_clear().kill_on_drop(true);
    command
}

/// Runs the program to its end: its exit code, and everything it said.
async fn outcome(arguments: &[&str]) -> (Option<i32>, String) {
    let output = timeout(WITHIN, command(arguments).output())
        .await
        .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
        .expect("the program starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    (output.status.code(), said)
}

/// Plays a scenario written to a file.
async fn outcome_of(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.toml");
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a path");
    outcome(&["simulate", "--scenario", file, "--speed", "20"]).await
}

/// The world of a closed budget, in which the pod behind it is to become this.
fn closed_budget(expect: &str) -> String {
    format!(
        r#"
        description = "one pod behind a closed budget"
        [notice]
        after = "1s"
        warning = "45s"
        [expect]
        verdict = "completed"
        [[pod]]
        name = "db-0"
        labels = {{ app = "db" }}
        grace = "5s"
        expect = "{expect}"
        [[budget]]
        name = "db"
        select = {{ app = "db" }}
        allowed = 0
        [[target_group]]
        arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/db/73e2d6bc24d8a067"
        ports = [5432, 5433]
        "#
    )
}

#[tokio::test]
async fn the_default_simulation_tells_its_story_and_ends_as_stated() {
    let (code, said) = outcome(&["simulate", "--speed", "20"]).await;
    assert_eq!(code, Some(0), "{said}");
    for told in [
        "announces to terminate this instance in 120 s",
        "node.cordoned",
        "shop/cart-0 is stopping, with 60 s",
        "payments/db-1 was deleted",
        "shop-api:30444  draining since",
        "drain.completed",
        "The outcome is the one the scenario states.",
    ] {
        assert!(said.contains(told), "{told:?} is not in\n{said}");
    }
    assert!(
        !said.contains("kube-system/aws-node-4c2kd is stopping"),
        "{said}"
    );
}

#[tokio::test]
async fn a_pod_behind_a_closed_budget_is_deleted_and_both_ports_are_drained() {
    let (code, said) = outcome_of(&closed_budget("deleted")).await;
    assert_eq!(code, Some(0), "{said}");
    for port in [5432, 5433] {
        assert!(
            said.contains(&format!("db:{port}  draining since")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_outcome_that_is_not_as_stated_is_told_and_fails() {
    let (code, said) = outcome_of(&closed_budget("evicted")).await;
    assert_eq!(code, Some(1), "{said}");
    let surprise = "pod default/db-0: evicted was stated, and it is deleted";
    assert!(said.contains(surprise), "{said}");
}

#[tokio::test]
async fn a_scenario_that_cannot_be_read_is_a_usage_error_that_names_the_place() {
    let (code, said) = outcome_of(&closed_budget("forgotten")).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("scenario.toml: TOML parse error at line 12"),
        "{said}"
    );
    assert!(said.contains("unknown variant `forgotten`"), "{said}");
    let (code, said) = outcome(&["simulate", "--scenario", "no/such/file.toml"]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("scenario \"no/such/file.toml\""), "{said}");
    let (code, said) = outcome(&["simulate", "--speed", "0"]).await;
    assert_eq!(code, Some(64), "{said}");
    assert!(
        said.contains("invalid value '0' for '--speed <N>'"),
        "{said}"
    );
}

/// Asks as a client of IMDSv2 does.
async fn ask(
    url: &str,
    method: &str,
    path: &str,
    header: (&str, &str),
) -> (u16, Vec<String>, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let (name, value) = header;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{name}: {value}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a reader");
    let mut reply = String::new();
    // It ends because the service closes the connection, as EC2 does.
    stream.read_to_string(&mut reply).await.expect("a reply");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .expect("a status");
    let headers = lines.map(str::to_lowercase).collect();
    (status.parse().expect("a number"), headers, body.to_owned())
}

#[tokio::test]
async fn the_mock_metadata_service_prints_where_it_is_and_has_the_notice_appear() {
    let mut child = command(&[
        "mock-imds",
        "--port",
        "0",
        "--control-port",
        "0",
        "--notice-after",
        "0s",
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .spawn()
    .expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let first = timeout(WITHIN, lines.next_line())
        .await
        .expect("a line")
        .expect("text")
        .expect("a line");
    let url = first
        .strip_prefix("metadata service: ")
        .expect("an address")
        .to_owned();
    while let Some(line) = timeout(WITHIN, lines.next_line())
        .await
        .expect("a line")
        .expect("text")
    {
        if line.starts_with("the notice is there") {
            break;
        }
    }
    let life = ("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let (status, headers, token) = ask(&url, "PUT", "/latest/api/token", life).await;
    assert_eq!(status, 200);
    assert!(
        headers.iter().any(|header| header.starts_with("date: ")),
        "{headers:?}"
    );
    let action = "/latest/meta-data/spot/instance-action";
    let (status, _, body) = ask(&url, "GET", action, ("X-aws-ec2-metadata-token", &token)).await;
    assert_eq!(status, 200);
    let notice: serde_json::Value = serde_json::from_str(&body).expect("a notice");
    assert_eq!(notice["action"], "terminate");
    let (status, _, _) = ask(&url, "GET", action, ("Accept", "*/*")).await;
    assert_eq!(status, 401, "IMDSv1 is not served");
    let (status, _, _) = ask(
        &url,
        "PUT",
        "/latest/api/token",
        ("X-Forwarded-For", "10.0.0.1"),
    )
    .await;
    assert_eq!(status, 403);

    let id = child.id().expect("it runs").to_string();
    Command::new("kill")
        .args(["-TERM", &id])
        .status()
        .await
        .expect("kill runs");
    let status = timeout(WITHIN, child.wait())
        .await
        .expect("an end")
        .expect("a status");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let port = address.port().to_string();
    let (code, said) = outcome(&["mock-imds", "--port", &port]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("listening on {address}")), "{said}");
}
