//! What the API server uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;

use crate::control_plane::ControlPlane;
use crate::process;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// One look at it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub at: Timestamp,
    /// Processor time so far, in seconds.
    pub processor: f64,
    /// Resident, in MiB.
    pub memory: f64,
}

/// Looks at it until it is stopped.
pub struct Looking {
    stop: Arc<AtomicBool>,
    looks: JoinHandle<Vec<Look>>,
}

impl Looking {
    pub fn start(plane: &ControlPlane) -> Self {
        let id = api_server(plane);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let looks = tokio::spawn(async move {
            let mut looks = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                looks.push(Look {
                    at: Timestamp::now(),
                    processor: process::processor_ticks(id).map_or(0.0, |used| used.as_secs_f64()),
                    memory: process::mebibytes(id, "VmRSS").unwrap_or_default(),
                });
                tokio::time::sleep(LOOK_EVERY).await;
            }
            looks
        });
        Self { stop, looks }
    }

    pub async fn stop(self) -> Vec<Look> {
        self.stop.store(true, Ordering::Relaxed);
        self.looks.await.expect("no panic")
    }
}

/// The process that serves this port.
fn api_server(plane: &ControlPlane) -> u32 {
    let (_, port) = plane.server_url().rsplit_once(':').expect("a port");
    let flag = format!("--secure-port={port}");
    let ids = std::fs::read_dir("/proc").expect("Linux");
    ids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|id: &u32| {
            let command = std::fs::read_to_string(format!("/proc/{id}/cmdline"));
            command.is_ok_and(|command| command.split('\0').any(|argument| argument == flag))
        })
        .expect("an API server")
}
