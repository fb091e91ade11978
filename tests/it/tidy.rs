//! The rules of the layout, held against the text of the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `folder`, with its text and its path from the root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path: PathBuf = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                let name = path.strip_prefix(root()).expect("a path below the root");
                files.push((name.display().to_string(), text));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no sources under {folder}");
    files
}

/// The code of a file without its comments, line by line, with line numbers from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// Every place where a file that `belongs` picks mentions one of `words` in its code.
fn mentions(folder: &str, belongs: impl Fn(&str) -> bool, words: &[&str]) -> Vec<String> {
    sources(folder)
        .iter()
        .filter(|(name, _)| belongs(name))
        .flat_map(|(name, text)| {
            code(text)
                .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
                .map(move |(number, line)| format!("{name}:{number}: {}", line.trim()))
        })
        .collect()
}

#[test]
fn the_core_uses_the_standard_library_and_itself_only() {
    let outside = [
        "async ",
        ".await",
        "tokio",
        "kube::",
        "k8s_openapi",
        "aws_",
        "reqwest",
        "serde",
        "jiff",
        "tracing",
        "thiserror",
        "anyhow",
        "futures_util",
        "rand",
        "Instant",
        "SystemTime",
        "now()",
        "std::env",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "ToSocketAddrs",
        "std::thread",
        "HashMap",
        "HashSet",
        "crate::ports",
        "crate::clock",
        "crate::agent",
        "crate::sim",
    ];
    let core = |name: &str| name == "src/plan.rs" || name.starts_with("src/plan/");
    assert_eq!(mentions("src", core, &outside), Vec::<String>::new());
}

#[test]
fn the_ports_know_the_core_and_nobody_else() {
    let outside = [
        "tokio",
        "kube::",
        "aws_",
        "reqwest",
        "crate::agent",
        "crate::sim",
        "crate::clock",
    ];
    assert_eq!(
        mentions("src", |name| name == "src/ports.rs", &outside),
        Vec::<String>::new()
    );
}

#[test]
fn adapters_know_neither_each_other_nor_the_agent_nor_the_simulation() {
    for adapter in ["imds", "cluster", "balancer"] {
        let others: Vec<String> = [
            "imds", "cluster", "balancer", "agent", "attempt", "report", "sim", "args",
        ]
        .iter()
        .filter(|other| **other != adapter)
        .map(|other| format!("crate::{other}::"))
        .collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let own = |name: &str| {
            name == format!("src/{adapter}.rs") || name.starts_with(&format!("src/{adapter}/"))
        };
        assert_eq!(mentions("src", own, &others), Vec::<String>::new());
    }
}

#[test]
fn the_simulation_never_uses_the_adapters() {
    let adapters = [
        "crate::imds",
        "crate::cluster",
        "crate::balancer",
        "kube::",
        "aws_sdk",
        "reqwest",
    ];
    let simulation = |name: &str| name == "src/sim.rs" || name.starts_with("src/sim/");
    assert_eq!(mentions("src", simulation, &adapters), Vec::<String>::new());
}

#[test]
fn only_the_clock_reads_clocks() {
    let readings = [
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "time::sleep",
        "time::timeout",
        "time::interval",
    ];
    let others = |name: &str| name != "src/clock.rs";
    assert_eq!(mentions("src", others, &readings), Vec::<String>::new());
}

#[test]
fn no_adapter_sleeps_or_retries_by_itself() {
    let waits = [
        ".sleep(",
        "sleep_until",
        "RetryConfig::standard",
        "default_retry = true",
    ];
    let adapters = |name: &str| {
        ["src/imds", "src/cluster", "src/balancer"]
            .iter()
            .any(|adapter| name.starts_with(adapter))
    };
    assert_eq!(mentions("src", adapters, &waits), Vec::<String>::new());
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = sources("src")
        .into_iter()
        .chain(sources("tests"))
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn the_code_map_names_every_module() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let unnamed: Vec<String> = sources("src")
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.matches('/').count() == 1 || name.starts_with("src/plan/"))
        .filter(|name| !name.contains("/tests") && name.matches('/').count() <= 2)
        .filter(|name| !map.contains(&format!("`{}`", name.trim_start_matches("src/"))))
        .collect();
    assert_eq!(unnamed, Vec::<String>::new());
}

/// Every page of the repository.
fn documents() -> Vec<String> {
    let mut pages = Vec::new();
    let folders = [
        "",
        "docs",
        "docs/decisions",
        "deploy",
        "deploy/spot-node-group",
        "deploy/builds-on-fargate",
        "deploy/flux",
        "deploy/helm/spot-interrupt-handler",
        "deploy/instance-manager",
        "deploy/terraform",
    ];
    for folder in folders {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of documents") {
            let name = entry.expect("an entry of that folder").file_name();
            let page = Path::new(folder).join(name);
            if page.extension().is_some_and(|extension| extension == "md") {
                pages.push(page.display().to_string());
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for name in documents() {
        let text = fs::read_to_string(root().join(&name)).expect("a page");
        let folder = Path::new(&name).parent().expect("a folder");
        for rest in text.split("](").skip(1) {
            let link = rest.split([')', '#']).next().unwrap_or_default();
            let is_elsewhere = link.is_empty() || link.contains("://");
            if !is_elsewhere && !root().join(folder).join(link).exists() {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn markdown_has_one_sentence_a_line() {
    let mut crowded = Vec::new();
    for name in documents() {
        let text = fs::read_to_string(root().join(&name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                fenced = !fenced;
            }
            let prose = !fenced && !line.starts_with('|');
            if prose && (line.contains(". A") || line.contains(". T") || line.contains(". I")) {
                crowded.push(format!("{name}:{}", index + 1));
            }
        }
    }
    assert_eq!(crowded, Vec::<String>::new());
}

/// The tests named in the last columns of a page's tables.
fn tests_named_in(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let last_columns = rows.skip(1).filter_map(|row| row.rsplit(" | ").next());
    last_columns
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_test_that_the_pages_of_cases_name_is_there() {
    let texts = ["src", "tests/it"].map(sources);
    let sources: String = texts.into_iter().flatten().map(|(_, text)| text).collect();
    for page in [
        include_str!("../../docs/drain.md"),
        include_str!("../../docs/load-balancer.md"),
    ] {
        let named = tests_named_in(page);
        for name in &named {
            assert!(sources.contains(&format!("fn {name}(")), "{name}");
        }
        assert!(named.len() > 30, "{} tests are named", named.len());
    }
}
