//! The command line: what is refused, and where values come from.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use spot_interrupt_handler::args::{self, Command, RunConfig};
use spot_interrupt_handler::plan::action::Ports;
use spot_interrupt_handler::plan::{Discover, Policy};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

/// What `run` makes of these flags and variables.
fn parse(flags: &[&str], variables: &[(&str, &str)]) -> Result<RunConfig, clap::Error> {
    let arguments = ["spot-interrupt-handler", "run"]
        .iter()
        .chain(flags)
        .map(OsString::from);
    let variable = |name: &str| {
        let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
        Some(OsString::from(value))
    };
    match args::parse(arguments, variable)? {
        Command::Run(config) => Ok(*config),
        other @ (Command::Check { .. }
        | Command::Simulate { .. }
        | Command::SimulateRandom { .. }
        | Command::Report { .. }
        | Command::MockImds(_)) => panic!("{other:?}"),
    }
}

fn run(flags: &[&str]) -> RunConfig {
    parse(flags, &[("NODE_NAME", "node")]).expect("a configuration")
}

#[test]
fn without_flags_the_policy_is_the_default_one() {
    assert_eq!(run(&[]).policy, Policy::default());
}

#[test]
fn a_wrong_value_is_refused_with_the_flag_and_the_value() {
    for (flag, value) in [
        ("--node-name", ""),
        ("--node-name", "Node"),
        ("--node-name", "a/b"),
        ("--node-name", "a..b"),
        ("--poll-interval", "0s"),
        ("--poll-interval", "11s"),
        ("--poll-interval", "five"),
        ("--end-margin", "2m"),
        ("--volume-margin", "-1s"),
        ("--kept-grace", "60"),
        ("--max-in-flight", "0"),
        ("--max-in-flight", "91"),
        ("--on-blocked", "ask"),
        ("--heartbeat-interval", "0s"),
        ("--target-group-arn", "web"),
        (
            "--target-group-arn",
            "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2:99999",
        ),
        ("--imds-endpoint", "https://169.254.169.254"),
        ("--imds-endpoint", "http://metadata.example"),
        ("--discover", "tags"),
        ("--discover", "none,tag"),
        ("--discover", "bindings,none"),
        ("--target-group-tag", "enabled"),
        ("--target-group-tag", "=true"),
        ("--settle-alb", "61s"),
        ("--settle-nlb", "30"),
        ("--log-format", "xml"),
        ("--log-level", "loud"),
    ] {
        let given = format!("{flag}={value}");
        let error = parse(&[&given], &[("NODE_NAME", "node")]).expect_err(&given);
        assert!(error.use_stderr(), "{given}");
        let message = error.to_string();
        assert!(message.contains(flag), "{given}: {message}");
        assert!(message.contains(value), "{given}: {message}");
    }
}

#[test]
fn an_unknown_flag_is_refused_by_name() {
    let error = parse(&["--pol-interval", "5s"], &[]).expect_err("no such flag");
    assert!(error.to_string().contains("--pol-interval"), "{error}");
}

#[test]
fn without_a_node_name_the_message_says_where_it_may_come_from() {
    let error = parse(&[], &[]).expect_err("no node");
    for place in ["--node-name", "SIH_NODE_NAME", "NODE_NAME"] {
        assert!(error.to_string().contains(place), "{error}");
    }
}

#[test]
fn a_downward_variable_that_is_no_node_name_is_refused_by_name_and_value() {
    let error = parse(&[], &[("NODE_NAME", "$(NODE_NAME)")]).expect_err("no name");
    let message = error.to_string();
    assert!(message.contains("'$(NODE_NAME)' of NODE_NAME"), "{message}");
}

#[test]
fn a_flag_wins_over_the_downward_variable_and_an_empty_variable_counts_as_unset() {
    let config = parse(&["--node-name", "flag"], &[("NODE_NAME", "variable")]);
    assert_eq!(config.expect("a configuration").node.as_str(), "flag");
    let empty = [
        ("NODE_NAME", "node"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", ""),
    ];
    let config = parse(&[], &empty).expect("a configuration");
    assert_eq!(config.metadata, "http://169.254.169.254");
}

#[test]
fn the_metadata_endpoint_follows_awss_variables_unless_the_flag_says_otherwise() {
    let node = ("NODE_NAME", "node");
    let ipv6 = [node, ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")];
    let config = parse(&[], &ipv6).expect("a configuration");
    assert_eq!(config.metadata, "http://[fd00:ec2::254]");
    let endpoint = [
        node,
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338"),
    ];
    let config = parse(&[], &endpoint).expect("a configuration");
    assert_eq!(config.metadata, "http://127.0.0.1:1338");
    let flag = ["--imds-endpoint", "http://localhost:1339"];
    let config = parse(&flag, &endpoint).expect("a configuration");
    assert_eq!(config.metadata, "http://localhost:1339");
}

#[test]
fn target_groups_come_with_or_without_a_port_and_by_comma() {
    let both = format!("{ARN},{ARN}:8080");
    let groups = run(&["--target-group-arn", &both]).policy.groups;
    let ports: Vec<Ports> = groups.iter().map(|group| group.ports).collect();
    assert_eq!(ports, [Ports::All, Ports::Only(8080)]);
    assert!(groups.iter().all(|group| group.arn.as_str() == ARN));
}

#[test]
fn target_groups_are_looked_for_in_any_of_the_places_or_in_none() {
    let both = BTreeSet::from([Discover::Bindings, Discover::Tag]);
    for (flags, places) in [
        (&["--discover", "tag"][..], BTreeSet::from([Discover::Tag])),
        (&["--discover", "tag,bindings"], both.clone()),
        (
            &["--discover", "bindings", "--discover", "tag"],
            both.clone(),
        ),
        (&["--discover", "tag,tag"], BTreeSet::from([Discover::Tag])),
        (&["--discover", "none"], BTreeSet::new()),
    ] {
        assert_eq!(run(flags).policy.discover, places, "{flags:?}");
    }
}

#[test]
fn a_tag_that_is_given_replaces_the_two_of_the_default() {
    let tags = |flags: &[&str]| -> Vec<(String, String)> {
        let tags = run(flags).policy.group_tags.into_iter();
        tags.map(|tag| (tag.key, tag.value)).collect()
    };
    let text = str::to_owned;
    let enabled = |key: &str| (text(key), text("true"));
    let default = [
        enabled("interrupt-handler/enabled"),
        enabled("spot-interrupt-handler/enabled"),
    ];
    assert_eq!(tags(&[]), default);
    let given = [
        "--target-group-tag=team=a=b,empty=",
        "--target-group-tag=enabled=true",
    ];
    let expected = [
        (text("team"), text("a=b")),
        (text("empty"), text("")),
        enabled("enabled"),
    ];
    assert_eq!(tags(&given), expected);
}

#[test]
fn settling_takes_up_to_a_minute_for_either_kind() {
    let settling = run(&["--settle-alb", "0s", "--settle-nlb", "60s"])
        .policy
        .settling;
    assert_eq!(settling.application, Duration::ZERO);
    assert_eq!(settling.network, Duration::from_secs(60));
}

#[test]
fn a_proxy_is_taken_from_the_environment_and_its_password_is_never_shown() {
    let node = ("NODE_NAME", "node");
    let proxied = |name, value| parse(&[], &[node, (name, value)]).map(|config| config.proxy);
    for (name, value, is_used) in [
        ("HTTPS_PROXY", "http://proxy.internal:3128", true),
        ("https_proxy", "proxy.internal:3128", true),
        ("HTTPS_PROXY", "", false),
        ("HTTP_PROXY", "http://proxy.internal:3128", false),
    ] {
        let proxy = proxied(name, value).expect("a configuration");
        assert_eq!(proxy.is_some(), is_used, "{name}={value}");
    }
    let with_password = "http://user:secret@proxy.internal:3128";
    let proxy = proxied("HTTPS_PROXY", with_password).expect("a configuration");
    assert!(!format!("{proxy:?}").contains("secret"), "{proxy:?}");
    for wrong in [
        "socks5://user:secret@proxy.internal:1080",
        "http://user:secret@",
    ] {
        let error = proxied("HTTPS_PROXY", wrong)
            .expect_err("no proxy")
            .to_string();
        let shown = wrong.rsplit('@').next().expect("a host");
        assert!(
            error.contains(&format!("'{shown}' of HTTPS_PROXY")),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn durations_take_their_units() {
    let policy = run(&["--kept-grace", "2m", "--poll-interval", "2500ms"]).policy;
    assert_eq!(policy.margins.kept_grace, Duration::from_secs(120));
    assert_eq!(policy.poll_interval, Duration::from_millis(2_500));
}

/// The variables of the program itself need a process of its own: nothing else of a test reads the environment.
#[test]
fn as_a_process_it_exits_with_64_and_reads_its_variables() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .arg("run")
        .env_clear()
        .env("NODE_NAME", "node")
        .env("SIH_POLL_INTERVAL", "1h")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("'1h' for '--poll-interval <DURATION>'"),
        "{said}"
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .arg("run")
        .env_clear()
        .env("NODE_NAME", "node")
        // Nobody filled these in.
        .env("SIH_DISCOVER", "")
        .env("SIH_TARGET_GROUP_TAG", "")
        .env("SIH_SETTLE_NLB", "2m")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("'2m' for '--settle-nlb <DURATION>'"),
        "{said}"
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .arg("run")
        .env_clear()
        .env("NODE_NAME", "node")
        .env("SIH_DISCOVER", "bindings,none")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("'bindings,none' for '--discover <WHERE>'"),
        "{said}"
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"))
        .arg("--version")
        .env_clear()
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
}
