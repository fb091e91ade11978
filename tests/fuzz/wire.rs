//! Parsers that only libraries see: their bytes come over a connection.

use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::plan::action::Ports;
use spot_interrupt_handler::plan::binding::TargetId;
use spot_interrupt_handler::plan::id::{InstanceId, TargetGroupArn};
use spot_interrupt_handler::ports::{Balancer, Metadata};
use tokio::runtime::{Builder, Runtime};

use crate::scripted::{Reply, Server, typed};
use crate::subjects::Feed;

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067";

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The body of an answer of the load balancer; the first byte chooses call and status code: its highest and
/// lowest bit the one, those between the other.
pub fn elb() -> Feed {
    let runtime = runtime();
    let group = TargetGroupArn::parse(ARN).expect("an ARN");
    let target = TargetId::Instance(InstanceId::new("i-0123456789abcdef0"));
    Box::new(move |bytes| {
        let (choice, body) = bytes.split_first().unwrap_or((&0, &[]));
        let code = [200, 200, 400, 403, 500, 503][usize::from(choice >> 1 & 0x1f) % 6];
        runtime.block_on(async {
            let server = Server::replying([typed(code, "text/xml", body)]).await;
            let balancer = Elbv2::at(&server.url);
            let (is_success, said) = match choice & 1 | choice >> 6 & 2 {
                0 => {
                    let ports = Ports::Only(80);
                    let result = balancer.targets(&group, &target, ports).await;
                    if let Ok(targets) = &result {
                        assert!(targets.iter().all(|target| target.port == 80));
                    }
                    (result.is_ok(), format!("{result:?}"))
                }
                1 => {
                    let result = balancer.deregister(&group, &target, &[80]).await;
                    (result.is_ok(), format!("{result:?}"))
                }
                2 => {
                    let result = balancer.groups(None).await;
                    if let Ok((_, next)) = &result {
                        assert!(next.as_ref().is_none_or(|next| !next.0.is_empty()));
                    }
                    (result.is_ok(), format!("{result:?}"))
                }
                _ => {
                    let result = balancer.tags(std::slice::from_ref(&group)).await;
                    (result.is_ok(), format!("{result:?}"))
                }
            };
            assert!(!is_success || code == 200, "success from HTTP {code}");
            said
        })
    })
}

/// All of what the metadata service sends back for a poll: no wrong notice, and a failure is one.
pub fn metadata() -> Feed {
    let runtime = runtime();
    Box::new(move |bytes| {
        let reply = String::from_utf8_lossy(bytes).into_owned();
        let has_action = reply.contains("action") || reply.contains("\\u");
        runtime.block_on(async {
            let replies = [typed(200, "text/plain", "token"), Reply::Torn(reply)];
            let server = Server::replying(replies).await;
            let imds = Imds::new(&server.url, Clock::real()).expect("a client");
            let result = imds.notice().await;
            assert!(!matches!(result, Ok(Some(_))) || has_action, "{result:?}");
            format!("{result:?}")
        })
    })
}
