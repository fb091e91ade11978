//! Elastic Load Balancing version 2 over HTTP: forms in, XML out, as the AWS Query protocol has it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::{Method, Response, StatusCode};

use super::{Body, Read, text};
use crate::plan::binding::TargetId;
use crate::plan::id::{InstanceId, TargetGroupArn};
use crate::sim::balancer::{Health, NamedTarget, NoGroup, Registration};
use crate::sim::journal::Service;
use crate::sim::stage::Stage;

const NAMESPACE: &str = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";

/// Every answer has one; it only has to be there.
const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

/// A refusal: its code and message. All are the client's fault, and 400.
struct Refusal(&'static str, String);

pub(super) async fn answer(stage: Arc<Stage>, request: Read) -> Response<Body> {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(request.body())
        .into_owned()
        .collect();
    let action = form.get("Action").map(String::as_str);
    let (verb, result) = match (request.method(), action) {
        (&Method::POST, Some("DescribeTargetHealth")) => {
            ("DescribeTargetHealth", describe(&stage, &form))
        }
        (&Method::POST, Some("DeregisterTargets")) => {
            ("DeregisterTargets", deregister(&stage, &form))
        }
        (&Method::POST, Some("DescribeTargetGroups")) => {
            ("DescribeTargetGroups", Ok(all_groups(&stage)))
        }
        (&Method::POST, Some("DescribeTags")) => ("DescribeTags", tags(&stage, &form)),
        (_, action) => {
            let message = format!("The action {} is not valid", action.unwrap_or_default());
            ("other", Err(Refusal("InvalidAction", message)))
        }
    };
    let (status, body) = match result {
        Ok(result) => (StatusCode::OK, success(verb, &result)),
        Err(refusal) => (StatusCode::BAD_REQUEST, failure(&refusal)),
    };
    let group = form.get("TargetGroupArn").cloned().unwrap_or_default();
    stage.record(Service::Balancer, verb, group, status.as_u16(), None);
    text(status, "text/xml", body)
}

fn describe(stage: &Stage, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let (arn, named) = (group(form)?, named_targets(form)?);
    let healths = stage
        .with(|world, _| world.balancer.describe(&arn, &named))
        .map_err(|NoGroup| no_group())?;
    let mut members = String::new();
    for health in &healths {
        members.push_str(&member(health));
    }
    Ok(format!(
        "<TargetHealthDescriptions>{members}</TargetHealthDescriptions>"
    ))
}

fn deregister(stage: &Stage, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let (arn, named) = (group(form)?, named_targets(form)?);
    if named.is_empty() {
        let message = "1 validation error detected: targets must not be empty".to_owned();
        return Err(Refusal("ValidationError", message));
    }
    stage
        .with(|world, now| world.balancer.deregister(&arn, &named, now.at))
        .map_err(|NoGroup| no_group())?;
    Ok(String::new())
}

/// All on one page, and all of an Application Load Balancer's instances.
fn all_groups(stage: &Stage) -> String {
    let mut members = String::new();
    stage.with(|world, _| {
        for (arn, _) in world.balancer.groups() {
            let arn = escaped(arn.as_str());
            // Writing into a String cannot fail.
            let _ = write!(
                members,
                "<member><TargetGroupArn>{arn}</TargetGroupArn><TargetType>instance</TargetType>\
                 <Protocol>HTTP</Protocol></member>"
            );
        }
    });
    format!("<TargetGroups>{members}</TargetGroups>")
}

fn tags(stage: &Stage, form: &BTreeMap<String, String>) -> Result<String, Refusal> {
    let mut descriptions = String::new();
    let named = (1..).map_while(|index| form.get(&format!("ResourceArns.member.{index}")));
    for text in named {
        let arn = parsed(text)?;
        let mut tags = String::new();
        stage.with(|world, _| {
            for (key, value) in world.balancer.tags(&arn).ok_or_else(no_group)? {
                let (key, value) = (escaped(key), escaped(value));
                // Writing into a String cannot fail, here and below.
                let _ = write!(
                    tags,
                    "<member><Key>{key}</Key><Value>{value}</Value></member>"
                );
            }
            Ok(())
        })?;
        let arn = escaped(text);
        let _ = write!(
            descriptions,
            "<member><ResourceArn>{arn}</ResourceArn><Tags>{tags}</Tags></member>"
        );
    }
    Ok(format!("<TagDescriptions>{descriptions}</TagDescriptions>"))
}

fn group(form: &BTreeMap<String, String>) -> Result<TargetGroupArn, Refusal> {
    parsed(form.get("TargetGroupArn").map_or("", String::as_str))
}

fn parsed(text: &str) -> Result<TargetGroupArn, Refusal> {
    TargetGroupArn::parse(text).map_err(|_| {
        Refusal(
            "ValidationError",
            format!("'{text}' is not a valid target group ARN"),
        )
    })
}

fn no_group() -> Refusal {
    Refusal(
        "TargetGroupNotFound",
        "One or more target groups not found".to_owned(),
    )
}

/// `Targets.member.1.Id`, `Targets.member.1.Port`, `Targets.member.2.Id`, …
fn named_targets(form: &BTreeMap<String, String>) -> Result<Vec<NamedTarget>, Refusal> {
    let mut targets = Vec::new();
    while let Some(id) = form.get(&format!("Targets.member.{}.Id", targets.len() + 1)) {
        let port = match form.get(&format!("Targets.member.{}.Port", targets.len() + 1)) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                Refusal("ValidationError", format!("'{text}' is not a valid port"))
            })?),
        };
        targets.push(NamedTarget {
            id: target_id(id),
            port,
        });
    }
    Ok(targets)
}

fn member(health: &Health) -> String {
    let (state, reason) = match health.registration {
        Some(Registration::Healthy) => ("healthy", None),
        Some(Registration::Draining { .. }) => {
            ("draining", Some("Target.DeregistrationInProgress"))
        }
        None => ("unused", Some("Target.NotRegistered")),
    };
    let mut xml = format!(
        "<member><Target><Id>{}</Id><Port>{}</Port></Target><TargetHealth><State>{state}</State>",
        escaped(&health.target.id.to_string()),
        health.target.port
    );
    if let Some(reason) = reason {
        // Writing into a String cannot fail.
        let _ = write!(xml, "<Reason>{reason}</Reason>");
    }
    xml.push_str("</TargetHealth></member>");
    xml
}

fn success(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result>\
         <ResponseMetadata><RequestId>{REQUEST_ID}</RequestId></ResponseMetadata></{action}Response>"
    )
}

fn failure(Refusal(code, message): &Refusal) -> String {
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>{REQUEST_ID}</RequestId></ErrorResponse>",
        escaped(message)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An instance's id or an address, as a request names it.
fn target_id(text: &str) -> TargetId {
    text.parse().map_or_else(
        |_| TargetId::Instance(InstanceId::new(text)),
        TargetId::Address,
    )
}
