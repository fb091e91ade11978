//! A day on which EC2 takes one spot node, then three, then half of them, in a cluster whose every controller is the real
//! one: kube-apiserver, kube-controller-manager and kube-scheduler, with kwok for kubelets.
//!
//! Each spot node runs the agent as its DaemonSet's pod says, as a process, with a token bound to that pod, against a
//! metadata service of its own (`mock-imds`) and one load balancer for all. Requests are sent all the time. At the end the
//! page of `report` is written to `target/game-day/`, with what was seen above the pictures; whatever does not hold makes
//! the program fail. `make game-day` runs it, in about eight minutes; with `--observe` the agents look on, to show that the
//! witnesses would have seen it.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod agents;
mod audit;
mod balancer;
mod cast;
mod evidence;
mod follow;
mod instance;
mod page;
mod site;
mod witness;

// The control plane is the tests' own; not all of it is needed here.
#[allow(dead_code, unused_imports)]
#[path = "../../it"]
mod it {
    pub mod control_plane;
    pub mod log_schema;
    pub mod whole_cluster;
}
use it::{control_plane, log_schema, whole_cluster};

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use agents::Agents;
use balancer::Balancer;
use control_plane::{AGENT, AGENT_NAMESPACE};
use evidence::{Day, Round};
use instance::Instance;
use site::Site;
use whole_cluster::{WholeCluster, until};
use witness::Witness;

/// From the notice until EC2 takes the instance.
const WARNING: Duration = Duration::from_secs(120);

/// Nothing that controllers do by themselves takes longer.
const WITHIN: Duration = Duration::from_mins(3);

fn main() -> ExitCode {
    let observes = std::env::args().any(|argument| argument == "--observe");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut stage = Stage::set(observes.then_some("observe")).await;
        let day = stage.play().await;
        if page::write(&day, observes) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    })
}

/// Everything there is.
struct Stage {
    cluster: WholeCluster,
    admin: Client,
    folder: tempfile::TempDir,
    site: Arc<Site>,
    balancer: Arc<Balancer>,
    witness: Witness,
    agents: Agents,
    /// By node.
    instances: BTreeMap<String, Instance>,
    launched: u32,
    observes: bool,
}

impl Stage {
    async fn set(mode: Option<&'static str>) -> Self {
        say("starting the control plane …");
        let cluster = WholeCluster::start().await.expect("a control plane");
        let admin = cluster.plane.admin().await;
        let witness = Witness::start(&admin);
        let site = Site::of(&admin, "httpbin");
        let balancer = Balancer::start(site.clone()).await;
        let mut stage = Self {
            agents: Agents::new(balancer.url(), mode),
            folder: tempfile::tempdir().expect("a folder"),
            instances: BTreeMap::new(),
            launched: 0,
            observes: mode.is_some(),
            cluster,
            admin,
            site,
            balancer,
            witness,
        };
        cast::create_others(&stage.admin).await;
        stage.site.open(cast::ON_DEMAND).await;
        stage.balancer.register(cast::ON_DEMAND);
        stage.launch(&cast::SPOT).await;
        cast::install(&stage.cluster).await;
        until("the builds' namespace", async || {
            let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
                Api::namespaced(stage.admin.clone(), cast::BUILDS);
            let account = accounts.get_opt("default").await;
            let account = account.map_err(|error| error.to_string())?;
            account.map(drop).ok_or("no ServiceAccount".to_owned())
        })
        .await;
        cast::build(&stage.admin).await;
        stage.settle().await;
        stage
    }

    /// An Auto Scaling group launches so many instances, and registers them.
    async fn launch(&mut self, zones: &[&'static str]) {
        for zone in zones {
            self.launched += 1;
            let folder = self.folder.path();
            let instance = cast::launch(&self.admin, self.launched, zone, folder).await;
            self.site.open(&instance.id).await;
            self.balancer.register(&instance.id);
            self.instances.insert(instance.node.clone(), instance);
        }
    }

    /// Runs the agents of new nodes, and returns when everything is as it should be.
    async fn settle(&mut self) {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), AGENT_NAMESPACE);
        let of_agents = ListParams::default().labels(&format!("app.kubernetes.io/name={AGENT}"));
        let end = Instant::now() + WITHIN;
        let new: Vec<String> = self.instances.keys().cloned().collect();
        let mut new: Vec<String> = new
            .into_iter()
            .filter(|node| !self.agents.runs(node))
            .collect();
        while !new.is_empty() {
            assert!(Instant::now() < end, "no agent's pod on {new:?}");
            sleep(Duration::from_millis(200)).await;
            for pod in pods.list(&of_agents).await.expect("pods") {
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
                let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
                let place = new.iter().position(|name| Some(name) == node.as_ref());
                if let (Some(place), Some("Running")) = (place, phase.as_deref()) {
                    let instance = &self.instances[&new.swap_remove(place)];
                    self.agents.run(&self.cluster.plane, &pod, instance).await;
                }
            }
        }
        let everybody = self.instances.len() + 1;
        let (agents, witness, balancer) = (&self.agents, &self.witness, &self.balancer);
        let started = if self.observes {
            "agent.started"
        } else {
            "preflight.passed"
        };
        until("a cluster at rest", async || {
            witness.full_strength()?;
            let told = agents.log.all(started).len();
            let expected = usize::try_from(self.launched).expect("a few");
            if told < expected {
                return Err(format!("{told} agents of {expected} said {started}"));
            }
            let in_service = balancer.in_service();
            if in_service < everybody {
                return Err(format!(
                    "{in_service} targets of {everybody} are in service"
                ));
            }
            Ok(())
        })
        .await;
    }

    async fn play(&mut self) -> Day {
        let begins = Timestamp::now();
        let mark = self.cluster.plane.audit_mark();
        self.witness.count();
        tokio::spawn(self.balancer.clone().send());
        // What a quiet minute would show, some seconds show as well.
        sleep(Duration::from_secs(5)).await;
        let mut rounds = Vec::new();
        for choose in [one_that_serves, a_whole_zone, half] {
            let chosen = choose(self);
            let zones: Vec<_> = chosen
                .iter()
                .map(|node| self.instances[node].zone)
                .collect();
            let mut round = self.interrupt(chosen).await;
            self.launch(&zones).await;
            self.settle().await;
            round.settled = Timestamp::now();
            rounds.push(round);
        }
        let jobs: Api<Job> = Api::namespaced(self.admin.clone(), "shop");
        say("waiting for the Job's last pods …");
        let completions = until("the Job's end", async || {
            let job = jobs.get("invoices").await.expect("the Job");
            let status = job.status.unwrap_or_default();
            let is_complete = status.completion_time.is_some();
            is_complete
                .then_some(status.succeeded)
                .ok_or(format!("{:?}", status.succeeded))
        })
        .await;
        let codes = self.agents.stop().await;
        // The longest request.
        sleep(Duration::from_secs(11)).await;
        let events = self.cluster.plane.audit_events(mark).await;
        let pods = self.witness.pods();
        Day {
            begins,
            account: audit::Account::of(&events, &pods, cast::BUILDS),
            pods,
            budgets: self.witness.budgets(),
            traffic: self.balancer.traffic(),
            log: self.agents.log.clone(),
            nodes: self.instances.len() + 4,
            rounds,
            completions: completions.unwrap_or_default(),
            codes,
        }
    }

    /// EC2 announces to take these, all at once, and takes them.
    async fn interrupt(&mut self, nodes: Vec<String>) -> Round {
        say(&format!("EC2 will take {} in 120 s", nodes.join(", ")));
        let doomed: Vec<_> = nodes.iter().map(|node| &self.instances[node]).collect();
        let notice = Timestamp::now();
        let reclaim = Instant::now() + WARNING;
        join_all(doomed.iter().map(|instance| instance.announce())).await;
        let mut full_after = None;
        while Instant::now() < reclaim - Duration::from_secs(1) {
            sleep(Duration::from_millis(200)).await;
            // Before the pods have gone nothing has been lost yet.
            if self.witness.are_empty(&nodes) && self.witness.full_strength().is_ok() {
                full_after = Some(Timestamp::now());
                break;
            }
        }
        sleep_until(reclaim).await;
        let receipts = self.receipts(&nodes, notice);
        let taken = Timestamp::now();
        for node in &nodes {
            let instance = self.instances.remove(node).expect("an instance");
            self.agents.lose(node).await;
            self.site.lose(&instance.id, node);
            self.witness.lose(node);
            // The cloud's node controller sees that the instance is gone.
            let objects: Api<Node> = Api::all(self.admin.clone());
            let deleted = objects.delete(node, &DeleteParams::default()).await;
            deleted.expect("the node can be deleted");
        }
        say(&format!(
            "… {} receipts; EC2 has taken them",
            receipts.len()
        ));
        Round {
            nodes,
            notice,
            taken,
            receipts,
            full_after,
            settled: taken,
        }
    }

    /// The receipts of these nodes' interruptions.
    fn receipts(&self, nodes: &[String], since: Timestamp) -> Vec<Value> {
        let mut receipts = self.agents.log.all("interruption.summary");
        receipts.retain(|line| {
            let node = line["node"].as_str().unwrap_or_default();
            let at: Timestamp = line["ts"]
                .as_str()
                .unwrap_or_default()
                .parse()
                .expect("a time");
            nodes.iter().any(|name| name == node) && at >= since
        });
        receipts.sort_by_key(|line| line["node"].to_string());
        receipts
    }
}

/// A node with a pod of httpbin, and with as many others as any.
fn one_that_serves(stage: &Stage) -> Vec<String> {
    let pods = stage.witness.pods();
    let on = |node: &str, namespace: Option<&str>| {
        let there = pods
            .values()
            .filter(|pod| pod.node == node && pod.gone.is_none());
        there
            .filter(|pod| namespace.is_none_or(|name| pod.namespace == name))
            .count()
    };
    let serving = stage
        .instances
        .keys()
        .filter(|node| on(node, Some("httpbin")) > 0);
    let most = serving.max_by_key(|node| on(node, None));
    vec![most.expect("a node that serves").clone()]
}

/// EC2 takes the instances of a zone and type together.
fn a_whole_zone(stage: &Stage) -> Vec<String> {
    let all = stage.instances.values();
    let of_it = all.filter(|instance| instance.zone == "eu-west-1a");
    of_it.map(|instance| instance.node.clone()).collect()
}

/// Every other one, so that it is some of each zone.
fn half(stage: &Stage) -> Vec<String> {
    stage.instances.keys().step_by(2).cloned().collect()
}

fn say(what: &str) {
    println!("{:.0}  {what}", Timestamp::now());
}
