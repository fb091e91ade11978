//! Where address and token come from, and when they are read again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{ConnectError, KubeCluster, Source, Writes};
use spot_interrupt_handler::plan::id::NodeName;
use spot_interrupt_handler::ports::{Cluster, Refusal};
use tempfile::TempDir;

use super::{NODE, chain, cluster_from, refusal};
use crate::scripted::{Reply, Server, json};

fn unauthorized() -> Reply {
    let status = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#;
    json(401, status)
}

struct Home {
    directory: TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn set_token(&self, token: &str) {
        std::fs::write(self.path("token"), token).expect("a token file");
    }

    /// A kubeconfig with one cluster at this address, and `more` in its cluster.
    fn kubeconfig(&self, url: &str, more: &str) -> PathBuf {
        let file = self.path("config");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: home, user: me}}}}]\n\
             clusters: [{{name: home, cluster: {{server: '{url}'{more}}}}}]\n\
             users: [{{name: me, user: {{tokenFile: '{}'}}}}]\n",
            self.path("token").display()
        );
        std::fs::write(&file, text).expect("a kubeconfig");
        file
    }
}

fn kubeconfig(file: &Path) -> Source {
    Source::Kubeconfig {
        file: Some(file.to_owned()),
        context: None,
    }
}

async fn connect_error(source: Source) -> ConnectError {
    KubeCluster::connect(source, NodeName::new(NODE), Writes::Real, Clock::real())
        .await
        .expect_err("no client")
}

async fn tokens_shown(clock: Clock, calls: usize) -> Vec<String> {
    let server = Server::replying((0..calls).map(|_| unauthorized())).await;
    let home = Home::new();
    home.set_token("token-0");
    let cluster = cluster_from(kubeconfig(&home.kubeconfig(&server.url, "")), clock.clone()).await;
    for call in 1..=calls {
        home.set_token(&format!("token-{call}"));
        let (refused, ..) = refusal(cluster.node().await);
        assert_eq!(refused, Refusal::Unauthenticated);
        clock.sleep(Duration::from_millis(5_010)).await;
    }
    let received = server.received();
    assert_eq!(received.len(), calls, "the adapter itself repeats nothing");
    received
        .iter()
        .filter_map(|request| Some(request.header("authorization")?.to_owned()))
        .collect()
}

#[tokio::test]
async fn after_a_401_the_next_call_shows_the_token_that_is_there_now() {
    // Five seconds of this clock are five milliseconds.
    let shown = tokens_shown(Clock::at_speed(1_000.0), 3).await;
    assert_eq!(
        shown,
        ["Bearer token-0", "Bearer token-1", "Bearer token-2"]
    );
}

#[tokio::test]
async fn a_token_is_read_again_at_most_every_five_seconds() {
    let server = Server::replying((0..3).map(|_| unauthorized())).await;
    let home = Home::new();
    home.set_token("token-0");
    // This clock all but stands still.
    let source = kubeconfig(&home.kubeconfig(&server.url, ""));
    let cluster = cluster_from(source, Clock::at_speed(0.000_001)).await;
    for token in ["token-1", "token-2", "token-3"] {
        home.set_token(token);
        let _ = refusal(cluster.node().await);
    }
    let shown: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    assert_eq!(
        shown,
        [bearer("token-0"), bearer("token-1"), bearer("token-1")]
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_read_again_is_said_and_the_old_one_kept() {
    let server = Server::replying([unauthorized(), unauthorized()]).await;
    let home = Home::new();
    home.set_token("token-0");
    let source = kubeconfig(&home.kubeconfig(&server.url, ""));
    let cluster = cluster_from(source, Clock::real()).await;
    std::fs::remove_file(home.path("token")).expect("a token file");
    let (refused, _, message) = refusal(cluster.node().await);
    assert_eq!(refused, Refusal::Unauthenticated);
    assert!(
        message.starts_with("Unauthorized; and reading the credentials again failed: "),
        "{message}"
    );
    assert_eq!(refusal(cluster.node().await).2, "Unauthorized");
    assert_eq!(
        server.received()[1].header("authorization"),
        Some("Bearer token-0")
    );
}

#[tokio::test]
async fn a_proxy_in_the_kubeconfig_is_refused_by_name() {
    let home = Home::new();
    home.set_token("token-0");
    let file = home.kubeconfig("https://10.0.0.1", ", proxy-url: 'http://proxy:3128'");
    let error = connect_error(kubeconfig(&file)).await;
    assert!(matches!(error, ConnectError::Proxy { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the kubeconfig names a proxy (proxy-url: http://proxy:3128) for cluster home: the API server is reached \
         directly only; remove proxy-url or use another context"
    );
    let empty = home.kubeconfig("http://10.0.0.1", ", proxy-url: ''");
    cluster_from(kubeconfig(&empty), Clock::real()).await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_or_lacks_the_context_is_named() {
    let home = Home::new();
    let missing = home.path("missing");
    let error = connect_error(kubeconfig(&missing)).await;
    let text = chain(&error);
    assert!(text.starts_with("reading the kubeconfig"), "{text}");
    assert!(text.contains("missing"), "{text}");

    home.set_token("token-0");
    let source = Source::Kubeconfig {
        file: Some(home.kubeconfig("http://10.0.0.1", "")),
        context: Some("elsewhere".to_owned()),
    };
    let text = chain(&connect_error(source).await);
    assert!(text.contains("elsewhere"), "{text}");
}

#[tokio::test]
async fn certificates_or_tokens_that_cannot_be_read_are_an_error_at_the_start() {
    let home = Home::new();
    let without_token = home.kubeconfig("http://10.0.0.1", "");
    let error = connect_error(kubeconfig(&without_token)).await;
    assert!(matches!(error, ConnectError::Client { .. }), "{error:?}");
    let text = chain(&error);
    assert!(text.contains("http://10.0.0.1"), "{text}");
    assert!(text.contains("token"), "{text}");
}

/// Set in the process that [`said_in`] starts.
const SAY: &str = "SAY_WHAT_THE_SURROUNDINGS_LEAD_TO";

/// Says what the surroundings of its process lead to. The environment belongs to all threads of a process, so the test
/// below starts this one again in a process of its own; elsewhere it only shows that nothing of it panics.
#[tokio::test]
async fn surroundings_lead_to_a_cluster_or_to_an_error() {
    let source = Source::Surroundings { context: None };
    let node = NodeName::new(NODE);
    let said = match KubeCluster::connect(source, node, Writes::Real, Clock::real()).await {
        Err(error) => chain(&error),
        Ok(_) if std::env::var_os(SAY).is_none() => return,
        Ok(cluster) => refusal(cluster.node().await).2,
    };
    if std::env::var_os(SAY).is_some() {
        println!("said: {said}");
    }
}

fn said_in(environment: &[(&str, &str)]) -> String {
    let output = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "cluster_wire::credentials::surroundings_lead_to_a_cluster_or_to_an_error",
        ])
        .arg("--nocapture")
        .env_clear()
        .env(SAY, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("a process");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, said) = text.split_once("said: ").expect("a line");
    said.lines().next().expect("a line").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_a_pod_the_kubeconfig_is_used_and_the_proxy_of_the_environment_is_not() {
    let home = Home::new();
    home.set_token("token-0");
    let path = home.directory.path().to_str().expect("UTF-8").to_owned();
    let nowhere = said_in(&[("HOME", &path)]);
    for part in [
        "no service account of a pod (failed to read an incluster environment variable",
        "no usable kubeconfig (KUBECONFIG, else ~/.kube/config)",
    ] {
        assert!(nowhere.contains(part), "{nowhere}");
    }

    let server = Server::replying([unauthorized(), unauthorized()]).await;
    let file = home.kubeconfig(&server.url, "");
    let file = file.to_str().expect("UTF-8");
    for more in [
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        // A pod without a token: its service account is switched off.
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
    ] {
        assert_eq!(said_in(&[("KUBECONFIG", file), more]), "Unauthorized");
    }
    assert_eq!(server.received().len(), 2);
}
