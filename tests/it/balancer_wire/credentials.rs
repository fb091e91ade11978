//! Credentials as the SDK finds them in the environment. It belongs to all threads of a process, so each is set for a
//! process of its own.

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::ports::Balancer;

use super::{deregistered, group, instance, refused};
use crate::scripted::{Server, json};

/// Set in the process that [`said_in`] starts: how many calls it makes.
const CALLS: &str = "DEREGISTRATIONS_OF_THIS_TEST";

/// Does nothing unless it is started by [`said_in`].
#[tokio::test]
async fn deregistrations_in_surroundings_of_their_own() {
    let Ok(calls) = std::env::var(CALLS) else {
        return;
    };
    let balancer = Elbv2::new();
    for _ in 0..calls.parse().expect("a number") {
        match balancer.deregister(&group(), &instance(), &[80]).await {
            Ok(()) => println!("said: done"),
            Err(error) => println!("said: {error}"),
        }
    }
}

/// What comes of this many calls to this server in these surroundings.
async fn said_in(server: &Server, calls: usize, environment: &[(&str, &str)]) -> Vec<String> {
    let home = tempfile::tempdir().expect("a directory");
    let case = "balancer_wire::credentials::deregistrations_in_surroundings_of_their_own";
    let output = tokio::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", case, "--nocapture"])
        .env_clear()
        .env(CALLS, calls.to_string())
        .env("HOME", home.path())
        .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &server.url)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied())
        .output()
        .await
        .expect("a process");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let said = text.split("said: ").skip(1);
    said.map(|rest| rest.lines().next().expect("a line").to_owned())
        .collect()
}

/// The access key that signed the request of this number.
fn signer(server: &Server, request: usize) -> String {
    let received = server.received();
    let signature = received[request].header("authorization");
    let (_, rest) = signature
        .and_then(|signature| signature.split_once("Credential="))
        .expect("a signature");
    rest.split('/').next().expect("a key").to_owned()
}

#[tokio::test]
async fn keys_of_the_environment_sign_and_its_proxies_for_plain_http_are_passed_by() {
    let proxy = Server::replying([]).await;
    let server = Server::replying([deregistered()]).await;
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "session"),
        ("HTTP_PROXY", &proxy.url),
        ("http_proxy", &proxy.url),
    ];
    assert_eq!(said_in(&server, 1, &environment).await, ["done"]);
    assert_eq!(signer(&server, 0), "AKIDENVIRONMENT");
    let request = server.only();
    assert_eq!(request.header("x-amz-security-token"), Some("session"));
    assert!(proxy.received().is_empty());
}

#[tokio::test]
async fn without_credentials_nothing_is_asked_and_that_is_said() {
    let server = Server::replying([]).await;
    let of_no_file = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/handler"),
    ];
    for environment in [&[][..], &of_no_file[..]] {
        let said = said_in(&server, 1, environment).await;
        assert_eq!(said, ["getting AWS credentials"], "{environment:?}");
    }
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_provider_of_credentials_that_refuses_is_not_a_load_balancer_that_denies() {
    let denial = r#"{"code":"AccessDenied","message":"no"}"#;
    let provider = Server::replying([json(403, denial)]).await;
    let server = Server::replying([]).await;
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url)];
    let said = said_in(&server, 1, &environment).await;
    assert_eq!(said, ["getting AWS credentials"]);
    provider.only();
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn expired_credentials_are_had_anew_for_the_next_call() {
    let keys = |id: &str| {
        let rest = r#""SecretAccessKey":"secret","Token":"t","Expiration":"2126-01-15T08:00:00Z""#;
        json(200, format!(r#"{{"AccessKeyId":"{id}",{rest}}}"#))
    };
    let provider = Server::replying([keys("AKIDFIRST"), keys("AKIDSECOND")]).await;
    let expired = refused(403, "ExpiredToken");
    let server = Server::replying([deregistered(), expired, deregistered()]).await;
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url)];
    assert_eq!(
        said_in(&server, 3, &environment).await,
        [
            "done",
            "the AWS credentials have expired: because of ExpiredToken",
            "done"
        ]
    );
    let signers: Vec<String> = (0..3).map(|request| signer(&server, request)).collect();
    assert_eq!(signers, ["AKIDFIRST", "AKIDFIRST", "AKIDSECOND"]);
}
