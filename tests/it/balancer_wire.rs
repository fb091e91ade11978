//! Elastic Load Balancing as the agent meets it: both calls, and every answer that is none, against a server on loopback.

mod calls;
mod credentials;
mod groups;
mod proxy;
mod refusals;
mod surroundings;
mod waits;

use std::collections::BTreeMap;

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::ports::{Balancer, BalancerError};

use crate::scripted::{Received, Reply, Server, typed};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";
const INSTANCE: &str = "i-0123456789abcdef0";

fn group() -> TargetGroupArn {
    TargetGroupArn::parse(ARN).expect("an ARN")
}

fn instance() -> TargetId {
    TargetId::Instance(InstanceId::new(INSTANCE))
}

/// The fields of a request.
fn form(request: &Received) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

/// An answer with this in it.
fn answered(action: &str, result: &str) -> Reply {
    let body = format!(
        r#"<{action}Response xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <{action}Result>{result}</{action}Result>
  <ResponseMetadata><RequestId>c534f810-f389-11e5-9192-3fff33344cfa</RequestId></ResponseMetadata>
</{action}Response>"#
    );
    typed(200, "text/xml", body)
}

fn deregistered() -> Reply {
    answered("DeregisterTargets", "")
}

fn refused(status: u16, code: &str) -> Reply {
    let body = format!(
        r#"<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>because of {code}</Message></Error>
  <RequestId>24a4b3b1-f397-11e5-8f09-5f3f4f4a2e2c</RequestId>
</ErrorResponse>"#
    );
    typed(status, "text/xml", body)
}

/// The error that this reply to a deregistration is, after exactly one request.
async fn failure(reply: Reply) -> BalancerError {
    let server = Server::replying([reply]).await;
    let balancer = Elbv2::at(&server.url);
    let result = balancer.deregister(&group(), &instance(), &[80]).await;
    server.only();
    result.expect_err("no success")
}
