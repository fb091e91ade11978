//! The environment belongs to all threads of a process, so each is set for a process of its own.

use std::ffi::OsString;

use spot_interrupt_handler::args::{self, Command};
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::id::TargetGroupArn;
use spot_interrupt_handler::ports::Balancer;

use super::{ARN, instance};

/// Set in the process that [`said`] starts: the calls it makes.
const CALLS: &str = "CALLS_OF_THIS_TEST";

/// Does nothing unless it is started by [`said`].
#[tokio::test]
async fn calls_in_surroundings_of_their_own() {
    let Ok(calls) = std::env::var(CALLS) else {
        return;
    };
    let run = ["spot-interrupt-handler", "run", "--node-name", "node"].map(OsString::from);
    let parsed = args::parse(run, |name| std::env::var_os(name));
    let Ok(Command::Run(config)) = parsed else {
        panic!("{parsed:?}");
    };
    let balancer = Elbv2::new(config.proxy);
    for call in calls.split(' ') {
        let result = match call.split_once('=').unwrap_or((call, ARN)) {
            ("warm", _) => balancer.warm().await,
            ("groups", _) => balancer.groups(None).await.map(|_| ()),
            ("deregister", arn) => {
                let group = TargetGroupArn::parse(arn).expect("an ARN");
                balancer.deregister(&group, &instance(), &[80]).await
            }
            other => panic!("{other:?}"),
        };
        match result {
            Ok(()) => println!("said: done"),
            Err(error) => println!("said: {error}"),
        }
    }
}

/// What comes of these calls in these surroundings: `warm`, `groups`, `deregister` and `deregister=ARN`.
pub async fn said(calls: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let home = tempfile::tempdir().expect("a directory");
    let case = "balancer_wire::surroundings::calls_in_surroundings_of_their_own";
    let output = tokio::process::Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", case, "--nocapture"])
        .env_clear()
        .env(CALLS, calls.join(" "))
        .env("HOME", home.path())
        .envs(environment.iter().copied())
        .output()
        .await
        .expect("a process");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let said = text.split("said: ").skip(1);
    said.map(|rest| rest.lines().next().expect("a line").to_owned())
        .collect()
}
