//! The environment, which belongs to all threads of a process: what it must not change is seen in a process of its own.

use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::ports::Metadata;

use super::{NOTICE, PUT, asked, server};
use crate::scripted::{Server, typed};

/// Where the process that is started below finds the service.
const SERVICE: &str = "METADATA_SERVICE_OF_THIS_TEST";

/// Does nothing unless it is started by the test below.
#[tokio::test]
async fn a_poll_in_surroundings_of_its_own() {
    if let Ok(url) = std::env::var(SERVICE) {
        let imds = Imds::new(&url, Clock::real()).expect("a client");
        assert_eq!(imds.notice().await.expect("an answer"), None);
    }
}

#[tokio::test]
async fn the_proxies_of_the_environment_are_passed_by() {
    let proxy = Server::replying([]).await;
    let server = server([typed(404, "text/html", "")]).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this binary"));
    let case = "imds_wire::surroundings::a_poll_in_surroundings_of_its_own";
    child.args(["--exact", case]).env_clear();
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, &proxy.url);
    }
    let output = child.env(SERVICE, &server.url).output().await;
    let output = output.expect("a process");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked(&server), [PUT, NOTICE]);
    assert!(proxy.received().is_empty());
}
