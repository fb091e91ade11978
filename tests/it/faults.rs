//! The whole agent with its real adapters, while a neighbour answers its first requests, or whatever comes in the first
//! twenty seconds, with nonsense or not at all: it neither exits nor hangs, forgets no pod, and gives one verdict.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spot_interrupt_handler::agent::Agent;
use spot_interrupt_handler::attempt::Ports;
use spot_interrupt_handler::balancer::Elbv2;
use spot_interrupt_handler::clock::Clock;
use spot_interrupt_handler::cluster::{KubeCluster, Source, Writes};
use spot_interrupt_handler::imds::Imds;
use spot_interrupt_handler::plan::action::Ports as TargetPorts;
use spot_interrupt_handler::plan::targets::ConfiguredGroup;
use spot_interrupt_handler::plan::{Planner, Policy};
use spot_interrupt_handler::report::{Base, Configuration, Level, Line, Outlet, Reporter};
use spot_interrupt_handler::sim::balancer::Registration;
use spot_interrupt_handler::sim::loopback::Loopback;
use spot_interrupt_handler::sim::scenario::Scenario;
use spot_interrupt_handler::sim::stage::Stage;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::log_schema::{Breaches, Witness};

/// Ninety seconds in twenty-two, for some forty agents at once on two processors: the SDK's own limit of 2.5 real seconds leaves room for three silences.
const SPEED: f64 = 4.0;

/// So many requests are answered wrongly …
const TIMES: usize = 3;

/// … or all that come so early.
const OUTAGE: Duration = Duration::from_secs(20);

const SCENARIO: &str = r#"
description = "three pods, one of them behind a closed budget, and a group with two ports"
[notice]
after = "1s"
warning = "90s"
[expect]
verdict = "completed"
[[pod]]
name = "web-0"
owner = "ReplicaSet/web"
expect = "evicted"
[[pod]]
name = "cart-0"
owner = "StatefulSet/cart"
claim = true
expect = "evicted"
[[pod]]
name = "db-0"
labels = { app = "db" }
grace = "5s"
expect = "deleted"
[[budget]]
name = "db"
select = { app = "db" }
allowed = 0
[[target_group]]
arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067"
ports = [30443, 30444]
"#;

/// Whose answers go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Metadata,
    Kubernetes,
    Balancer,
}

/// How.
#[derive(Clone, Debug)]
enum Fault {
    /// The connection is closed without a word.
    Close,
    /// It is reset.
    Reset,
    /// Nothing comes.
    Silence,
    /// This comes in place of an answer.
    Says(String),
}

/// Which requests they go wrong for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    FirstRequests,
    FirstSeconds,
}

fn answer(status: u16, content_type: &str, body: &str) -> Fault {
    let length = body.len();
    Fault::Says(format!(
        "HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn status(code: u16, reason: &str) -> Fault {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"no","reason":"{reason}","code":{code}}}"#
    );
    answer(code, "application/json", &body)
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = format!(
        "<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    );
    answer(status, "text/xml", &body)
}

/// Passes everything on to `server` but what `fault` says for the connection that is made.
async fn between(
    server: SocketAddr,
    mut fault: impl FnMut() -> Option<Fault> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server, fault()));
        }
    });
    address
}

async fn pass(mut client: TcpStream, server: SocketAddr, fault: Option<Fault>) {
    let Some(fault) = fault else {
        let mut server = TcpStream::connect(server).await.expect("the server");
        // Either side may have enough.
        let _ = copy_bidirectional(&mut client, &mut server).await;
        return;
    };
    let mut request = vec![0; 64 * 1024];
    let _ = client.read(&mut request).await;
    match fault {
        Fault::Close => {}
        Fault::Reset => client.set_zero_linger().expect("a socket"),
        Fault::Silence => std::future::pending().await,
        Fault::Says(answer) => {
            let _ = client.write_all(answer.as_bytes()).await;
            let _ = client.shutdown().await;
        }
    }
}

#[derive(Clone, Default)]
struct Verdicts(Arc<Mutex<Vec<String>>>);

impl Outlet for Verdicts {
    fn put(&self, line: &Line) {
        if ["drain.completed", "drain.incomplete"].contains(&line.event) {
            self.0.lock().expect("no panic").push(line.msg.clone());
        }
    }

    fn dropped(&self) -> u64 {
        0
    }
}

/// Plays the scenario with this neighbour misbehaving, and says what is wrong in the end.
async fn troubles(
    scenario: &str,
    neighbour: Neighbour,
    fault: Fault,
    extent: Extent,
) -> Vec<String> {
    let scenario = Scenario::parse("faults", scenario).expect("a scenario");
    let clock = Clock::at_speed(SPEED);
    let begins = clock.now().at;
    let stage = Stage::new(scenario.world(begins), clock.clone());
    let loopback = Loopback::serve(&stage).await.expect("loopback");
    let over = begins + scenario.notice_after + OUTAGE;
    let faults_of = |whose| {
        let (fault, clock, mut times) = (fault.clone(), clock.clone(), 0);
        move || {
            times += 1;
            let is_hit = match extent {
                Extent::FirstRequests => times <= TIMES,
                Extent::FirstSeconds => clock.now().at < over,
            };
            (whose == neighbour && is_hit).then(|| fault.clone())
        }
    };
    let metadata = between(loopback.metadata, faults_of(Neighbour::Metadata)).await;
    let kubernetes = between(loopback.kubernetes, faults_of(Neighbour::Kubernetes)).await;
    let balancer = between(loopback.balancer, faults_of(Neighbour::Balancer)).await;
    let node = scenario.node_name().clone();
    let source = Source::Plain(format!("http://{kubernetes}").parse().expect("a URL"));
    let ports = Ports {
        metadata: Imds::new(&format!("http://{metadata}"), clock.clone()).expect("a client"),
        cluster: KubeCluster::connect(source, node.clone(), Writes::Real, clock.clone())
            .await
            .expect("a client"),
        balancer: Elbv2::at(format!("http://{balancer}")),
    };
    let groups = scenario.groups.iter().map(|group| ConfiguredGroup {
        arn: group.arn.clone(),
        ports: TargetPorts::All,
    });
    let policy = Policy {
        groups: groups.collect(),
        ..Policy::default()
    };
    let base = Base {
        node: node.to_string(),
        cluster: None,
        configuration: Configuration::of(&policy, format!("http://{metadata}")),
    };
    let verdicts = Verdicts::default();
    let breaches = Breaches::default();
    let witness = Witness {
        outlet: Box::new(verdicts.clone()),
        breaches: breaches.clone(),
    };
    let reporter = Reporter::new(base, Level::Info, Box::new(witness), begins);
    let planner = Planner::new(policy, node, None, 1, clock.now());
    let agent = Agent::new(planner, ports, clock.clone(), Arc::new(reporter));
    let (_stops, stop_requests) = mpsc::channel(1);
    let deadline = begins + scenario.notice_after + scenario.warning;
    let mut wrong = Vec::new();
    if clock
        .until(deadline, agent.run(stop_requests))
        .await
        .is_ok()
    {
        wrong.push("the agent ended".to_owned());
    }
    wrong.extend(breaches.found());
    let verdicts = verdicts.0.lock().expect("no panic").clone();
    let expected = format!("all {} pods", scenario.pods.len());
    if verdicts.len() != 1 || !verdicts[0].starts_with(&expected) {
        wrong.push(format!("verdicts: {verdicts:?}"));
    }
    stage.with(|world, _| {
        for pod in world.cluster.everyone() {
            if pod.signals.len() != 1 {
                wrong.push(format!(
                    "{} got {} stop signals",
                    pod.name,
                    pod.signals.len()
                ));
            }
        }
        let targets = world
            .balancer
            .groups()
            .flat_map(|(_, group)| &group.targets);
        for (target, registration) in targets {
            if *registration == Registration::Healthy {
                wrong.push(format!("{} is in service", target.port));
            }
        }
    });
    wrong
        .into_iter()
        .map(|wrong| format!("{neighbour:?} {fault:?}: {wrong}"))
        .collect()
}

fn cases() -> Vec<(Neighbour, Fault)> {
    let html = "<html><body>It works!</body></html>";
    let anybody = [
        Fault::Close,
        Fault::Reset,
        Fault::Silence,
        Fault::Says("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
        answer(200, "text/html", html),
        answer(500, "text/html", html),
        answer(503, "text/html", html),
        answer(200, "application/json", "{\"action\":\"termi"),
        answer(200, "application/json", "[]"),
    ];
    let metadata = [
        answer(401, "text/html", html),
        answer(403, "text/html", html),
        answer(200, "application/json", r#"{"action":7}"#),
    ];
    let kubernetes = [
        status(401, "Unauthorized"),
        status(403, "Forbidden"),
        status(409, "Conflict"),
        status(410, "Expired"),
        status(429, "TooManyRequests"),
        answer(
            429,
            "text/plain",
            "Too many requests, please try again later.",
        ),
        status(500, "InternalError"),
        answer(503, "text/plain", "apiserver not ready"),
        answer(500, "application/json", r#"{"not":"a Status"}"#),
    ];
    let balancer = [
        refusal(400, "Throttling"),
        refusal(503, "ServiceUnavailable"),
        refusal(500, "InternalFailure"),
    ];
    let mut cases = Vec::new();
    for neighbour in [
        Neighbour::Metadata,
        Neighbour::Kubernetes,
        Neighbour::Balancer,
    ] {
        cases.extend(anybody.iter().map(|fault| (neighbour, fault.clone())));
    }
    cases.extend(metadata.map(|fault| (Neighbour::Metadata, fault)));
    cases.extend(kubernetes.map(|fault| (Neighbour::Kubernetes, fault)));
    cases.extend(balancer.map(|fault| (Neighbour::Balancer, fault)));
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_first_answers_are_the_drain_is_done_in_the_end() {
    let played = cases().into_iter().map(|(neighbour, fault)| {
        tokio::spawn(
            async move { troubles(SCENARIO, neighbour, fault, Extent::FirstRequests).await },
        )
    });
    let mut wrong = Vec::new();
    for played in played.collect::<Vec<_>>() {
        wrong.extend(played.await.expect("no panic"));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The same three pods and so many more.
fn with_more_pods(more: usize) -> String {
    let pod = |index| {
        format!(
            "[[pod]]\nname = \"more-{index}\"\nowner = \"ReplicaSet/more\"\ngrace = \"5s\"\nexpect = \"evicted\"\n"
        )
    };
    let pods: String = (0..more).map(pod).collect();
    format!("{SCENARIO}{pods}")
}

/// The moments are held in virtual time, by the tests of an outage; here nothing is forgotten with real sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_hangs_or_is_full_for_twenty_seconds_makes_the_agent_forget_no_pod() {
    let full = answer(
        429,
        "text/plain",
        "Too many requests, please try again later.",
    );
    let faults = [Fault::Silence, full].into_iter();
    let played = faults.flat_map(|fault| [(fault.clone(), 0), (fault, 107)]);
    let played = played.map(|(fault, more)| {
        let scenario = with_more_pods(more);
        tokio::spawn(async move {
            troubles(
                &scenario,
                Neighbour::Kubernetes,
                fault,
                Extent::FirstSeconds,
            )
            .await
        })
    });
    let mut wrong = Vec::new();
    for played in played.collect::<Vec<_>>() {
        wrong.extend(played.await.expect("no panic"));
    }
    assert_eq!(wrong, Vec::<String>::new());
}
