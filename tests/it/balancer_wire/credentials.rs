//! Credentials as the SDK finds them in the environment. It belongs to all threads of a process, so each is set for a
//! process of its own.

use super::surroundings::said;
use super::{answered, deregistered, form, refused};
use crate::scripted::{Reply, Server, json, typed};

/// What comes of these calls to this server in these surroundings.
async fn said_in(server: &Server, calls: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let endpoint = ("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &*server.url);
    let no_metadata = ("AWS_EC2_METADATA_DISABLED", "true");
    said(calls, &[&[endpoint, no_metadata], environment].concat()).await
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
];

fn keys(id: &str) -> Reply {
    let rest = r#""SecretAccessKey":"secret","Token":"t","Expiration":"2126-01-15T08:00:00Z""#;
    json(200, format!(r#"{{"AccessKeyId":"{id}",{rest}}}"#))
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

/// The region that the only request was signed for.
fn region(server: &Server) -> String {
    let request = server.only();
    let signature = request.header("authorization").expect("a signature");
    let region = signature.split('/').nth(2).expect("a region");
    region.to_owned()
}

fn no_groups() -> Reply {
    answered("DescribeTargetGroups", "<TargetGroups/>")
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
    assert_eq!(
        said_in(&server, &["deregister"], &environment).await,
        ["done"]
    );
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
        let said = said_in(&server, &["deregister"], environment).await;
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
    let said = said_in(&server, &["deregister"], &environment).await;
    assert_eq!(said, ["getting AWS credentials"]);
    provider.only();
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn expired_credentials_are_had_anew_for_the_next_call() {
    let provider = Server::replying([keys("AKIDFIRST"), keys("AKIDSECOND")]).await;
    let expired = refused(403, "ExpiredToken");
    let server = Server::replying([deregistered(), expired, deregistered()]).await;
    let environment = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url)];
    assert_eq!(
        said_in(&server, &["deregister"; 3], &environment).await,
        [
            "done",
            "the AWS credentials have expired: because of ExpiredToken",
            "done"
        ]
    );
    let signers: Vec<String> = (0..3).map(|request| signer(&server, request)).collect();
    assert_eq!(signers, ["AKIDFIRST", "AKIDFIRST", "AKIDSECOND"]);
}

/// Nothing reaches the load balancer before it is asked something, and then nothing has to be waited for.
#[tokio::test]
async fn credentials_are_had_by_warming_and_kept_for_the_calls() {
    let provider = Server::replying([keys("AKIDWARM")]).await;
    let server = Server::replying([deregistered()]).await;
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url),
        ("AWS_REGION", "eu-west-1"),
    ];
    let calls = ["warm", "warm", "deregister", "warm"];
    assert_eq!(said_in(&server, &calls, &environment).await, ["done"; 4]);
    assert_eq!(signer(&server, 0), "AKIDWARM");
    let request = server.only();
    assert_eq!(form(&request)["Action"], "DeregisterTargets");
    provider.only();
}

#[tokio::test]
async fn warming_says_when_there_are_no_credentials() {
    let provider = Server::replying([json(403, "{}"), keys("AKIDLATER")]).await;
    let server = Server::replying([]).await;
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*provider.url),
        ("AWS_REGION", "eu-west-1"),
    ];
    let said = said_in(&server, &["warm", "warm"], &environment).await;
    assert_eq!(said, ["getting AWS credentials", "done"]);
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn the_groups_are_those_of_the_region_that_the_environment_names() {
    let server = Server::replying([no_groups()]).await;
    let environment = [&KEYS[..], &[("AWS_REGION", "ap-south-1")]].concat();
    let said = said_in(&server, &["groups"], &environment).await;
    assert_eq!(said, ["done"]);
    assert_eq!(region(&server), "ap-south-1");
}

#[tokio::test]
async fn the_groups_are_those_of_the_region_that_the_metadata_service_names() {
    let token = typed(200, "text/plain", "token");
    let token = token.with("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600");
    let metadata = Server::replying([token, typed(200, "text/plain", "sa-east-1")]).await;
    let server = Server::replying([no_groups()]).await;
    let more = [
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*metadata.url),
    ];
    let environment = [&KEYS[..], &more].concat();
    let said = said_in(&server, &["groups"], &environment).await;
    assert_eq!(said, ["done"], "{:?}", metadata.received());
    assert_eq!(region(&server), "sa-east-1");
}

#[tokio::test]
async fn without_a_region_the_groups_cannot_be_listed_and_a_named_one_is_reached_all_the_same() {
    let server = Server::replying([deregistered()]).await;
    let said = said_in(&server, &["warm", "groups", "deregister"], &KEYS).await;
    let unknown = "finding out which region this is";
    assert_eq!(said, [unknown, unknown, "done"]);
    assert_eq!(region(&server), "eu-west-1");
}
