//! A second opinion on the load balancer's adapter: moto, a server of the same API that none of us has written. It checks
//! signatures and permissions, and reads and writes the same forms and XML. Where it differs from AWS, a test says so.
//!
//! Needs Python 3.9 or later with venv and a package index: moto is installed once, under the checkout's cache. Without
//! them a loud line says so, and under CI it is a failure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::action::{Ports, Target, TargetState};
use spot_interrupt_handler::plan::binding::{
    BalancerKind, GroupTag, ListedGroup, TargetId, TargetType,
};
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::ports::{Balancer, BalancerError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const MOTO: &str = "5.2.5";

/// What `tests/moto/serve.py` has set up.
#[derive(Deserialize)]
struct Scene {
    url: String,
    region: String,
    key: String,
    secret: String,
    groups: BTreeMap<String, String>,
}

/// Holds a [`Scene`] in the process that [`moto_agrees_with_the_adapter`] starts: the environment is a whole process's.
const SCENE: &str = "SCENE_OF_THIS_TEST";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of an environment with moto in it.
async fn installed() -> Result<PathBuf, String> {
    let cache =
        std::env::var_os("SIH_CACHE_DIR").map_or_else(|| root().join(".cache"), PathBuf::from);
    let folder = cache.join(format!("moto-{MOTO}"));
    let complete = folder.join("complete");
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let path = folder.display().to_string();
        succeed(Command::new("python3").args(["-m", "venv", &path])).await?;
        let package = format!("moto[server,elbv2,ec2]=={MOTO}");
        let quiet = [
            "install",
            "--quiet",
            "--disable-pip-version-check",
            &package,
        ];
        succeed(Command::new(folder.join("bin/pip")).args(quiet)).await?;
        std::fs::write(complete, "").map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

async fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?}: {said}"))
    }
}

/// Serves as long as the process is held, and says what there is.
async fn served() -> Result<(Child, String), String> {
    let python = installed().await?.join("bin/python");
    let mut server = Command::new(python)
        .arg(root().join("tests/moto/serve.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = server.stdout.take().expect("it is piped");
    let line = BufReader::new(stdout).lines().next_line().await;
    let scene = line.ok().flatten().ok_or("serve.py says nothing")?;
    Ok((server, scene))
}

#[tokio::test]
async fn moto_agrees_with_the_adapter() {
    let (_server, scene) = match served().await {
        Ok(served) => served,
        Err(complaint) => {
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "under CI moto must be asked: {complaint}");
            eprintln!("NO SECOND OPINION ON THE LOAD BALANCER: no moto: {complaint}");
            return;
        }
    };
    let there: Scene = serde_json::from_str(&scene).expect("a scene");
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "moto::in_surroundings_of_its_own", "--nocapture"])
        .env_clear()
        .env(SCENE, &scene)
        .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &there.url)
        .env("AWS_REGION", &there.region)
        .env("AWS_ACCESS_KEY_ID", &there.key)
        .env("AWS_SECRET_ACCESS_KEY", &there.secret)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .await
        .expect("this test starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{output:?}");
    assert!(said.contains("moto was asked"), "{said}");

    // The same with a key that does not fit: moto does check what the adapter signs.
    let wrong = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "moto::with_a_key_that_does_not_fit",
            "--nocapture",
        ])
        .env_clear()
        .env(SCENE, &scene)
        .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", &there.url)
        .env("AWS_REGION", &there.region)
        .env("AWS_ACCESS_KEY_ID", &there.key)
        .env("AWS_SECRET_ACCESS_KEY", "another")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .await
        .expect("this test starts");
    let said = String::from_utf8_lossy(&wrong.stdout);
    assert!(wrong.status.success(), "{said}{wrong:?}");
    assert!(said.contains("moto was asked"), "{said}");
}

/// Does nothing unless it is started by [`moto_agrees_with_the_adapter`].
#[tokio::test]
async fn with_a_key_that_does_not_fit() {
    if std::env::var_os(SCENE).is_none() {
        return;
    }
    let error = Elbv2::new(None).groups(None).await.expect_err("a refusal");
    assert!(matches!(error, BalancerError::Denied { .. }), "{error:?}");
    println!("moto was asked");
}

/// Does nothing unless it is started by [`moto_agrees_with_the_adapter`].
#[tokio::test]
async fn in_surroundings_of_its_own() {
    let Ok(scene) = std::env::var(SCENE) else {
        return;
    };
    let scene: Scene = serde_json::from_str(&scene).expect("a scene");
    let arn = |name: &str| TargetGroupArn::parse(&scene.groups[name]).expect("an ARN");
    let balancer = Elbv2::new(None);
    balancer.warm().await.expect("credentials");
    groups_and_tags(&balancer, &arn("web"), &arn("stream"), &arn("pods")).await;
    let instance = TargetId::Instance(InstanceId::new("i-0123456789abcdef0"));
    targets(&balancer, &arn("web"), &instance, 30_080).await;
    let pod = TargetId::Address("10.0.3.17".parse().expect("an address"));
    targets(&balancer, &arn("pods"), &pod, 8080).await;
    refusals(&balancer, &instance).await;
    println!("moto was asked");
}

async fn groups_and_tags(
    balancer: &Elbv2,
    web: &TargetGroupArn,
    stream: &TargetGroupArn,
    pods: &TargetGroupArn,
) {
    let (mut groups, next) = balancer.groups(None).await.expect("a page");
    let listed = |arn: &TargetGroupArn, target_type, kind| ListedGroup {
        arn: arn.clone(),
        target_type,
        kind: Some(kind),
    };
    let mut expected = [
        listed(web, TargetType::Instance, BalancerKind::Application),
        listed(stream, TargetType::Instance, BalancerKind::Network),
        listed(pods, TargetType::Ip, BalancerKind::Application),
    ];
    groups.sort_by(|one, other| one.arn.cmp(&other.arn));
    expected.sort_by(|one, other| one.arn.cmp(&other.arn));
    assert_eq!(groups, expected);
    // AWS has pages of 400; moto lists everything at once, whatever it is asked, so the marker is none of its opinion.
    assert_eq!(next, None);

    let asked = [web.clone(), stream.clone()];
    let tags = balancer.tags(&asked).await.expect("tags");
    let tags: BTreeMap<TargetGroupArn, Vec<GroupTag>> = tags.into_iter().collect();
    let tag = |key: &str, value: &str| GroupTag {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let carried = vec![
        tag("interrupt-handler/enabled", "true"),
        tag("owner", "a&b <c> é"),
    ];
    assert_eq!(tags[web], carried);
    assert_eq!(tags[stream], []);
}

async fn targets(balancer: &Elbv2, group: &TargetGroupArn, target: &TargetId, port: u16) {
    let all = balancer.targets(group, target, Ports::All).await;
    let state = TargetState::Registered;
    assert_eq!(all.expect("targets"), [Target { port, state }]);
    let deregistered = balancer.deregister(group, target, &[port]).await;
    deregistered.expect("a deregistration");
    // AWS says `draining` until the deregistration delay is over; with moto the target is gone at once.
    let one = balancer.targets(group, target, Ports::Only(port)).await;
    let state = TargetState::NotRegistered;
    assert_eq!(one.expect("an answer"), [Target { port, state }]);
    let all = balancer.targets(group, target, Ports::All).await;
    assert_eq!(all.expect("targets"), []);
    // AWS says success; moto says InvalidTarget, which the adapter takes for the same.
    let again = balancer.deregister(group, target, &[port]).await;
    again.expect("nothing left to do");
}

async fn refusals(balancer: &Elbv2, instance: &TargetId) {
    let gone =
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/gone/50dc6c495c0c9188";
    let gone = TargetGroupArn::parse(gone).expect("an ARN");
    let described = balancer.targets(&gone, instance, Ports::All).await;
    assert!(
        matches!(described, Err(BalancerError::GroupGone)),
        "{described:?}"
    );
    let deregistered = balancer.deregister(&gone, instance, &[80]).await;
    assert!(
        matches!(deregistered, Err(BalancerError::GroupGone)),
        "{deregistered:?}"
    );
}
