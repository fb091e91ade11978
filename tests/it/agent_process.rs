//! The agent as its users run it: the built binary, its flags, its lines.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::log_schema;

/// No line of a test is further away than this; a drain here takes a minute at most.
const LINE_WITHIN: Duration = Duration::from_secs(150);

/// A running agent. It is killed when it is dropped.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Every line so far.
    pub seen: Vec<Value>,
}

impl AgentProcess {
    /// Starts the agent with nothing in its environment but what is given.
    pub fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"));
        Self::start_build(program, kubeconfig, flags)
    }

    /// The same with more in its environment.
    pub fn start_with(kubeconfig: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_spot-interrupt-handler"));
        Self::spawn(program, kubeconfig, flags, variables)
    }

    /// The same with another build of it.
    pub fn start_build(program: &Path, kubeconfig: &Path, flags: &[&str]) -> Self {
        Self::spawn(program, kubeconfig, flags, &[])
    }

    fn spawn(
        program: &Path,
        kubeconfig: &Path,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program)
            .arg("run")
            .args(flags)
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the agent starts");
        let stdout = child.stdout.take().expect("its output is piped");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            seen: Vec::new(),
        }
    }

    /// The next line, which has to keep the log's contract; none when the agent has ended.
    pub async fn next_line(&mut self) -> Option<&Value> {
        let line = timeout(LINE_WITHIN, self.lines.next_line())
            .await
            .unwrap_or_else(|_| panic!("no line within {LINE_WITHIN:?}; seen: {:#?}", self.seen))
            .expect("its output can be read")?;
        self.seen.push(log_schema::read(&line));
        self.seen.last()
    }

    /// Reads lines until one of this event has come, and returns it.
    pub async fn line_of(&mut self, event: &str) -> Value {
        while let Some(line) = self.next_line().await {
            if line["event"] == event {
                return line.clone();
            }
        }
        panic!("the agent ended before {event}; seen: {:#?}", self.seen)
    }

    /// All lines of this event so far.
    pub fn all(&self, event: &str) -> Vec<&Value> {
        self.seen
            .iter()
            .filter(|line| line["event"] == event)
            .collect()
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the agent runs")
    }

    /// SIGKILL: no more lines, no time to say goodbye.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the agent can be killed");
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        let killed = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status()
            .await
            .expect("kill runs");
        assert!(killed.success());
    }

    /// Reads to the end of its output, and returns its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        while self.next_line().await.is_some() {}
        self.child
            .wait()
            .await
            .expect("its status can be read")
            .code()
    }
}
