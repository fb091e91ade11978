//! The workflows under `.github/`, and the one version that a release has in all its places.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::alerts::programs::program;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The names and texts of all workflows.
fn workflows() -> Vec<(String, String)> {
    let folder = Path::new(ROOT).join(".github/workflows");
    let mut found: Vec<_> = fs::read_dir(folder)
        .expect("a folder of workflows")
        .map(|entry| entry.expect("an entry of that folder").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("a workflow");
            (name.into_owned(), text)
        })
        .collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

/// What actionlint has to say about a workflow of this text; none where there is no Go.
fn findings(name: &str, text: &str) -> Option<String> {
    let actionlint = program("actionlint")?;
    // In a repository of its own: a workflow that calls another has to find it.
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join(".github/workflows");
    fs::create_dir_all(&own).expect("a folder for workflows");
    fs::create_dir(folder.path().join(".git")).expect("what makes it a repository");
    for (other, text) in workflows() {
        fs::write(own.join(other), text).expect("a copy");
    }
    fs::write(own.join(name), text).expect("the workflow");
    // Shell scripts are read the same on every machine: not at all. Their own rules are below.
    let run = Command::new(actionlint)
        .args(["-no-color", "-oneline", "-shellcheck=", "-pyflakes="])
        .arg(own.join(name))
        .current_dir(folder.path())
        .output()
        .expect("actionlint runs");
    let said = String::from_utf8(run.stdout).expect("text");
    assert_eq!(run.status.success(), said.is_empty(), "{said}");
    Some(said)
}

#[test]
fn actionlint_finds_nothing_in_the_workflows() {
    for (name, text) in workflows() {
        assert_eq!(findings(&name, &text).unwrap_or_default(), "", "{name}");
    }
}

#[test]
fn actionlint_finds_what_is_wrong_in_a_broken_copy() {
    let release = fs::read_to_string(format!("{ROOT}/.github/workflows/release.yml"));
    let release = release.expect("a workflow");
    for (right, wrong, word) in [
        ("needs: [names, image]", "needs: [name, image]", "name"),
        ("id-token: write", "id-tokens: write", "id-tokens"),
        (
            "runner: ubuntu-24.04-arm",
            "runner: ubuntu-24.04-arms",
            "arms",
        ),
        ("workflows/ci.yml", "workflows/checks.yml", "checks.yml"),
        ("steps.names.outputs", "steps.name.outputs", "name"),
    ] {
        assert!(release.contains(right), "{right}");
        let Some(said) = findings("release.yml", &release.replace(right, wrong)) else {
            return;
        };
        assert!(said.contains(word), "{wrong}: {said}");
    }
}

/// The jobs of a workflow by name.
fn jobs(text: &str) -> Vec<(String, Value)> {
    let workflow: Value = serde_saphyr::from_str(text).expect("YAML");
    let jobs = workflow["jobs"].as_object().expect("jobs");
    jobs.iter()
        .map(|(name, job)| (name.clone(), job.clone()))
        .collect()
}

#[test]
fn every_action_is_pinned_to_a_commit_and_says_which_version_that_is() {
    let mut pinned = 0;
    for (name, text) in workflows() {
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            let (_, action) = line.split_once("uses: ").expect("a use");
            if action == "./.github/workflows/ci.yml" {
                continue;
            }
            let (action, version) = action.split_once(" # v").expect(line);
            let (_, commit) = action.split_once('@').expect(line);
            let is_commit =
                commit.len() == 40 && commit.chars().all(|digit| digit.is_ascii_hexdigit());
            assert!(is_commit, "{name}: {line}");
            assert_eq!(version.split('.').count(), 3, "{name}: {line}");
            pinned += 1;
        }
    }
    assert!(pinned >= 8, "{pinned}");
}

#[test]
fn each_job_is_given_what_it_needs_and_a_workflow_nothing() {
    for (name, text) in workflows() {
        let workflow: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(workflow["permissions"], json!({}), "{name}");
        assert!(workflow["concurrency"]["group"].is_string(), "{name}");
        for (job, given) in jobs(&text) {
            let permissions = given["permissions"].as_object().expect(&job);
            let writes: Vec<&str> = permissions
                .iter()
                .filter(|(_, level)| *level != "read")
                .map(|(scope, _)| scope.as_str())
                .collect();
            let allowed: &[&str] = match (name.as_str(), job.as_str()) {
                ("release.yml", "image") => &["packages"],
                ("release.yml", "publish") => &["contents", "packages", "id-token"],
                _ => &[],
            };
            assert_eq!(writes, allowed, "{name}: {job}");
            let is_limited = given["timeout-minutes"].is_u64() || given["uses"].is_string();
            assert!(is_limited, "{name}: {job} may run for six hours");
        }
    }
}

#[test]
fn no_expression_and_no_secret_is_written_into_a_script() {
    for (name, text) in workflows() {
        for (job, given) in jobs(&text) {
            for step in given["steps"].as_array().into_iter().flatten() {
                let script = step["run"].as_str().unwrap_or_default();
                // A tag may be called anything: what comes from outside reaches a script as a variable.
                assert!(!script.contains("${{"), "{name}: {job}: {script}");
                for shown in ["echo \"$TOKEN", "echo $TOKEN", "set -x", "--password "] {
                    assert!(!script.contains(shown), "{name}: {job}: {script}");
                }
                let checkout = step["uses"].as_str().unwrap_or_default();
                if checkout.starts_with("actions/checkout@") {
                    let kept = &step["with"]["persist-credentials"];
                    assert_eq!(*kept, false, "{name}: {job}");
                }
            }
        }
    }
}

/// Where a version stands: a file, what is before it there, and how often.
const VERSIONS: [(&str, &str, usize); 8] = [
    (
        "Cargo.lock",
        "name = \"spot-interrupt-handler\"\nversion = \"",
        1,
    ),
    (
        "deploy/helm/spot-interrupt-handler/Chart.yaml",
        "\nversion: ",
        1,
    ),
    (
        "deploy/helm/spot-interrupt-handler/Chart.yaml",
        "\nappVersion: ",
        1,
    ),
    (
        "deploy/kustomize/base/daemonset.yaml",
        "image: spot-interrupt-handler:",
        1,
    ),
    (
        "deploy/kustomize/components/mock-imds/daemonset.yaml",
        "image: spot-interrupt-handler:",
        1,
    ),
    (
        "deploy/flux/infra/spot-interrupt-handler/release.yaml",
        "\n    tag: ",
        1,
    ),
    ("README.md", "`spot-interrupt-handler:", 1),
    ("docs/mock-imds.md", " spot-interrupt-handler:", 2),
];

#[test]
fn a_release_has_one_version_in_all_its_places() {
    let own = env!("CARGO_PKG_VERSION");
    for (file, before, times) in VERSIONS {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).expect(file);
        let versions: Vec<&str> = text
            .split(before)
            .skip(1)
            .map(|rest| {
                let end = rest.find(|mark: char| !mark.is_ascii_digit() && mark != '.');
                rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
            })
            .collect();
        assert_eq!(versions, vec![own; times], "{file}: {before}");
    }
}

/// The release puts the image into the chart by these two lines of its values.
#[test]
fn the_values_of_the_chart_have_the_lines_that_a_release_changes() {
    let values = include_str!("../../deploy/helm/spot-interrupt-handler/values.yaml");
    for line in ["  repository: spot-interrupt-handler", "  digest: \"\""] {
        assert_eq!(
            values.lines().filter(|own| *own == line).count(),
            1,
            "{line}"
        );
    }
    let starts = ["  repository: ", "  digest: "];
    let changed = values
        .lines()
        .filter(|line| starts.iter().any(|start| line.starts_with(start)));
    assert_eq!(changed.count(), 2);
}
