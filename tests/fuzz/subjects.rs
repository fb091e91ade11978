//! What is fed, and what must hold of every outcome besides that there is one.

use std::ffi::OsString;

use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use spot_interrupt_handler::annotation::{read_annotation, write_annotation};
use spot_interrupt_handler::args::{self, Command};
use spot_interrupt_handler::cluster::{
    read_bindings, read_event, read_pods, read_refusal, read_services,
};
use spot_interrupt_handler::imds::{endpoint_is_local, read_date, read_identity, read_notice};
use spot_interrupt_handler::picture::{Form, Log, draw};
use spot_interrupt_handler::plan::action::WatchEvent;
use spot_interrupt_handler::plan::id::TargetGroupArn;
use spot_interrupt_handler::plan::node::Annotation;
use spot_interrupt_handler::plan::time::Moment;
use spot_interrupt_handler::ports::{ClusterError, Refusal};
use spot_interrupt_handler::sim::scenario::Scenario;

use crate::wire;

/// Gives the outcome of an input in words; panics when it is wrong.
pub type Feed = Box<dyn FnMut(&[u8]) -> String>;

/// One parser.
pub struct Subject {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// By how much it is slower than the quick ones; it gets so many rounds fewer.
    pub cost: u64,
    /// Feeds it.
    pub run: Feed,
}

/// All of them.
pub fn all() -> Vec<Subject> {
    let quick = |name, run: fn(&[u8]) -> String| Subject {
        name,
        cost: 1,
        run: Box::new(run),
    };
    vec![
        quick("notice", notice),
        quick("identity", |bytes| {
            format!("{:?}", read_identity(bytes).is_some())
        }),
        quick("date", |bytes| {
            format!("{:?}", read_date(&text(bytes)).is_some())
        }),
        quick("status", status),
        quick("pods", pods),
        quick("bindings", bindings),
        quick("services", services),
        quick("event", event),
        quick("annotation", annotation),
        quick("arn", arn),
        quick("endpoint", endpoint),
        Subject {
            name: "log",
            cost: 4,
            run: Box::new(log),
        },
        Subject {
            name: "scenario",
            cost: 4,
            run: Box::new(scenario),
        },
        Subject {
            name: "flags",
            cost: 10,
            run: Box::new(flags),
        },
        Subject {
            name: "elb",
            cost: 10,
            run: wire::elb(),
        },
        Subject {
            name: "http",
            cost: 10,
            run: wire::metadata(),
        },
    ]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// No wrong notice: whatever is taken for one is a JSON object with a text as `action`, and says the same when it is
/// written anew.
fn notice(bytes: &[u8]) -> String {
    let Some(announcement) = read_notice(bytes, None) else {
        return "no notice".to_owned();
    };
    let body: Value = serde_json::from_slice(bytes).expect("a notice is JSON");
    assert!(body["action"].is_string(), "a notice without an action");
    let anew = serde_json::to_vec(&body).expect("JSON");
    assert_eq!(read_notice(&anew, None), Some(announcement.clone()));
    format!("{:?} {}", announcement.action, announcement.time.is_some())
}

/// The first byte chooses the status code, and no body changes the class of an answer.
fn status(bytes: &[u8]) -> String {
    let codes = [400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 504];
    let (choice, body) = bytes.split_first().unwrap_or((&0, &[]));
    let code = codes[usize::from(*choice) % codes.len()];
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(&body[..body.len().min(6)]) {
        headers.insert("Retry-After", value);
    }
    let status = StatusCode::from_u16(code).expect("a code");
    let ClusterError::Refused {
        refusal,
        status,
        message,
    } = read_refusal(status, &headers, body)
    else {
        panic!("no refusal");
    };
    assert_eq!(status, code);
    let is_of_class = match refusal {
        Refusal::Budget | Refusal::Throttled(_) => code == 429,
        Refusal::NamespaceTerminating | Refusal::Forbidden => code == 403,
        Refusal::Unauthenticated => code == 401,
        Refusal::NotFound => code == 404,
        Refusal::Conflict => code == 409,
        Refusal::Expired => code == 410,
        Refusal::Invalid => code == 400 || code == 422,
        Refusal::TwoBudgets => code == 500,
        Refusal::ServerError => code >= 500,
    };
    assert!(is_of_class, "{code} is {refusal:?}");
    format!("{code} {refusal:?} {}", message.is_empty())
}

/// Pods that can be named, and nothing of a body that is no list.
fn pods(bytes: &[u8]) -> String {
    match read_pods(bytes) {
        Ok((pods, _)) => {
            assert!(pods.len() <= items_of(bytes, "PodList"), "more than items");
            let first = pods.first();
            format!(
                "{:?}",
                first.map(|pod| (
                    pod.progress,
                    pod.is_mirror,
                    pod.mounts_claim,
                    pod.termination.is_some()
                ))
            )
        }
        Err(error) => causes(&error),
    }
}

/// How many items a list has, which is one of this kind.
fn items_of(bytes: &[u8], kind: &str) -> usize {
    // What is not asked for is skipped unread, and may be no UTF-8.
    let list: Value = serde_json::from_str(&text(bytes)).expect("a list is JSON");
    assert_eq!(list["kind"], kind);
    list["items"].as_array().map_or(0, Vec::len)
}

/// Bindings whose group has an ARN, and nothing of a body that is no list.
fn bindings(bytes: &[u8]) -> String {
    match read_bindings(bytes) {
        Ok(bindings) => {
            assert!(bindings.len() <= items_of(bytes, "TargetGroupBindingList"));
            for binding in &bindings {
                assert!(TargetGroupArn::parse(binding.group.as_str()).is_ok());
                assert_eq!(binding.name.namespace, binding.service.namespace);
            }
            let first = bindings.first().map(|binding| {
                (
                    binding.target_type,
                    binding.account,
                    binding.kind,
                    binding.checkpoint.is_some(),
                    binding.node_selector.requirements.len(),
                )
            });
            format!("{first:?}")
        }
        Err(error) => causes(&error),
    }
}

/// Services that lead somewhere.
fn services(bytes: &[u8]) -> String {
    match read_services(bytes) {
        Ok(services) => {
            assert!(services.len() <= items_of(bytes, "ServiceList"));
            for service in &services {
                let mut ports = service.ports.iter();
                let is_outside = ports.any(|port| port.node_port.is_some());
                assert!(service.selector.is_some() || is_outside, "{service:?}");
                assert!(service.ports.iter().all(|port| port.node_port != Some(0)));
            }
            let first = services
                .first()
                .map(|service| (service.traffic, service.ports.len()));
            format!("{first:?}")
        }
        Err(error) => causes(&error),
    }
}

/// One event, or the error that ends the watch.
fn event(bytes: &[u8]) -> String {
    match read_event(bytes) {
        Ok(Some(WatchEvent::Seen(pod, _))) => {
            format!("{:?} {}", pod.progress, pod.termination.is_some())
        }
        Ok(event) => format!(
            "{:?}",
            event.map(|event| matches!(event, WatchEvent::Gone(..)))
        ),
        Err(error) => causes(&error),
    }
}

/// What an error is caused by; the error itself repeats what came.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source()).skip(1);
    causes.map(ToString::to_string).collect()
}

/// A record that was read and is written says the same.
fn annotation(bytes: &[u8]) -> String {
    match read_annotation(&text(bytes)) {
        Annotation::Record(record) => {
            let written = write_annotation(&record);
            assert_eq!(
                read_annotation(&written),
                Annotation::Record(record.clone()),
                "{written}"
            );
            format!(
                "{:?} {:?} {}",
                record.action,
                record.cordon,
                record.time.is_some()
            )
        }
        Annotation::Unknown(_) => "unknown".to_owned(),
        Annotation::Absent => "absent".to_owned(),
    }
}

fn arn(bytes: &[u8]) -> String {
    let text = text(bytes);
    match TargetGroupArn::parse(&text) {
        Ok(arn) => {
            assert_eq!(arn.as_str(), text);
            assert!(!arn.region().is_empty());
            "an ARN".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// Only an address of this machine or of EC2 is local, however it is written.
fn endpoint(bytes: &[u8]) -> String {
    match endpoint_is_local(&text(bytes)) {
        Ok(true) => "local".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A wrong one is told with words; a right one makes a world.
fn scenario(bytes: &[u8]) -> String {
    match Scenario::parse("fuzzed", &text(bytes)) {
        Ok(scenario) => {
            let _ = scenario.world(Moment::ORIGIN);
            "a scenario".to_owned()
        }
        Err(error) => {
            let message = format!("{error}: {:?}", std::error::Error::source(&error));
            assert!(message.contains("fuzzed"), "{message}");
            message
        }
    }
}

/// Lines of a log. Whatever is drawn of them is within its bounds, and none of it is theirs.
fn log(bytes: &[u8]) -> String {
    let mut log = Log::default();
    text(bytes).lines().for_each(|line| log.read(line));
    let stories = log.stories();
    for form in [Form::Html, Form::Svg] {
        let drawn = draw(&stories, form);
        for wrong in [
            "<script",
            "<b>",
            "NaN",
            "inf\"",
            "x=\"-",
            "y=\"-",
            "width=\"-",
            "height=\"-",
        ] {
            assert!(!drawn.contains(wrong), "{wrong} in {drawn}");
        }
    }
    let pods: usize = stories.iter().map(|story| story.pods.len()).sum();
    format!("{} of {pods} pods", stories.len().min(9))
}

/// Arguments, one a line. Whatever is accepted is within its bounds.
fn flags(bytes: &[u8]) -> String {
    let arguments = text(bytes);
    let arguments = arguments.lines().map(OsString::from);
    let program = OsString::from("spot-interrupt-handler");
    match args::parse(std::iter::once(program).chain(arguments), |_| None) {
        Ok(Command::Run(config)) => {
            let policy = &config.policy;
            assert!(
                (1..=10).contains(&policy.poll_interval.as_secs()),
                "{policy:?}"
            );
            assert!((1..=90).contains(&policy.max_in_flight), "{policy:?}");
            assert!(!config.node.as_str().is_empty(), "a node without a name");
            for settling in [policy.settling.application, policy.settling.network] {
                assert!(settling.as_secs() <= 60, "{policy:?}");
            }
            assert!(policy.group_tags.iter().all(|tag| !tag.key.is_empty()));
            format!("{:?}", config.log_level)
        }
        Ok(Command::Check { config, output, .. }) => {
            assert!(!config.node.as_str().is_empty(), "a node without a name");
            format!("check {output:?}")
        }
        Ok(Command::Simulate { speed, .. }) => {
            assert!(speed.is_finite() && speed > 0.0, "speed {speed}");
            "simulate".to_owned()
        }
        Ok(Command::SimulateRandom { count, .. }) => {
            assert!(count > 0, "no interruptions");
            "random".to_owned()
        }
        Ok(Command::Report { .. }) => "report".to_owned(),
        Ok(Command::MockImds(_)) => "mock-imds".to_owned(),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without words");
            format!("{:?}", error.kind())
        }
    }
}
