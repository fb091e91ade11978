//! A spot instance: its metadata service, which is `mock-imds` as a process and announces what it is ordered to.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The program that is tried.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_spot-interrupt-handler");

/// Ends with its metadata service when it is dropped.
#[derive(Debug)]
pub struct Instance {
    pub node: String,
    pub id: String,
    pub zone: &'static str,
    /// Where its metadata is.
    pub metadata: String,
    control: String,
    _service: Child,
}

impl Instance {
    /// Starts the metadata service of this instance; `folder` gets the file that says what it is.
    pub async fn launch(node: &str, id: &str, zone: &'static str, folder: &Path) -> Self {
        let file = folder.join(format!("{id}.toml"));
        let scenario = format!(
            "description = \"A spot instance.\"\n[node]\nname = \"{node}\"\ninstance_id = \"{id}\"\nzone = \"{zone}\"\n\
             [expect]\nverdict = \"completed\"\n"
        );
        std::fs::write(&file, scenario).expect("the folder can be written");
        let mut service = Command::new(PROGRAM)
            .args(["mock-imds", "--port", "0", "--control-port", "0"])
            // Not by itself: when it is ordered.
            .args(["--notice-after", "86400", "--scenario"])
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the metadata service starts");
        let output = service.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(output).lines();
        let mut told = async |what: &str| {
            let line = lines.next_line().await.expect("its output can be read");
            let line = line.expect("it says where it is");
            let url = line.strip_prefix(what).map(str::to_owned);
            url.unwrap_or_else(|| panic!("{what}, not {line}"))
        };
        let metadata = told("metadata service: ").await;
        let control = told("control: ").await;
        // Somebody has to listen: it ends when it can no longer say what it does.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            node: node.to_owned(),
            id: id.to_owned(),
            zone,
            metadata,
            control,
            _service: service,
        }
    }

    /// EC2 announces to take it in two minutes.
    pub async fn announce(&self) {
        let order = json!({"action": "terminate", "in": "120s"});
        let answer = reqwest::Client::new()
            .post(format!("{}/notice", self.control))
            .body(order.to_string())
            .send()
            .await
            .expect("the metadata service takes orders");
        assert!(answer.status().is_success(), "{answer:?}");
    }
}
