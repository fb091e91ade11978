//! A copy of `deploy/` that a test may change, and what kustomize makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::control_plane::kubectl;

/// The folders of `deploy/kustomize/components`.
pub const COMPONENTS: [&str; 7] = [
    "confine-evictions",
    "dry-run",
    "flow-schema",
    "irsa",
    "mock-imds",
    "pod-identity",
    "pod-network",
];

/// A copy of `deploy/` for one test.
pub struct Copy {
    root: tempfile::TempDir,
    number: AtomicU64,
}

impl Copy {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        copy(&deploy, root.path());
        Self {
            root,
            number: AtomicU64::new(0),
        }
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// What a user gets who lists these components on top of an overlay, in a namespace of his own if one is given.
    pub async fn combine(
        &self,
        variant: &str,
        components: &[&str],
        namespace: Option<&str>,
    ) -> Result<String, String> {
        let components: Vec<_> = components
            .iter()
            .map(|name| format!("../components/{name}"))
            .collect();
        let components = components.join(", ");
        let elsewhere = namespace
            .map(|name| format!("namespace: {name}\ntransformers: [../base/namespace]\n"))
            .unwrap_or_default();
        let kustomization = format!(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../{variant}]\n\
             components: [{components}]\n{elsewhere}"
        );
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let folder = format!("kustomize/combination-{number}");
        let path = self.root.path().join(&folder);
        fs::create_dir(&path).expect("a directory in the copy");
        fs::write(path.join("kustomization.yaml"), kustomization).expect("a file in the copy");
        let rendered = self.render(&folder).await;
        fs::remove_dir_all(path).expect("what was just made");
        rendered
    }

    pub async fn render(&self, folder: &str) -> Result<String, String> {
        let path = self.root.path().join(folder);
        let rendered = kubectl(&["kustomize", &path.to_string_lossy()], None).await?;
        Ok(String::from_utf8(rendered).expect("text"))
    }

    /// Every folder that can be given to `kubectl apply -k`, from `deploy/` on.
    pub fn kustomizations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            let kustomization = fs::read_to_string(folder.join("kustomization.yaml"));
            if kustomization.is_ok_and(|text| text.contains("kind: Kustomization")) {
                let name = folder.strip_prefix(self.root.path()).expect("below it");
                found.push(name.display().to_string());
            }
            folders.extend(entries(&folder).into_iter().filter(|path| path.is_dir()));
        }
        found.sort();
        found
    }

    /// The names of the folders in a folder, in order.
    pub fn folders(&self, folder: &str) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into());
        entries(&self.root.path().join(folder))
            .into_iter()
            .filter_map(name)
            .collect()
    }

    /// Puts one text in the place of another, which has to be there.
    pub fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.root.path().join(file);
        let text = fs::read_to_string(&path).expect("a file of the copy");
        assert!(text.contains(from), "{file} has no {from:?} to replace");
        fs::write(path, text.replacen(from, to, 1)).expect("a file in the copy");
    }
}

/// A folder with a copy of `deploy/` in it, in the place of what a page has fetched: kustomize follows no link out of a
/// folder.
pub fn folder_with_deploy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    let deploy = folder.path().join("deploy");
    fs::create_dir(&deploy).expect("a directory");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"),
        &deploy,
    );
    folder
}

/// Writes a page's kustomization into a folder of this name beside that copy, which it then names.
pub fn write_kustomization(folder: &Path, name: &str, block: &str) -> PathBuf {
    let own = folder.join(name);
    fs::create_dir(&own).expect("a directory");
    let here = block.replace("github.com/OWNER/spot-interrupt-handler//", "../");
    assert_ne!(here, block, "it names nothing to fetch");
    fs::write(own.join("kustomization.yaml"), here).expect("a file");
    own
}

fn copy(from: &Path, to: &Path) {
    for entry in entries(from) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            fs::create_dir(&target).expect("a directory in the copy");
            copy(&entry, &target);
        } else {
            fs::copy(&entry, &target).expect("a file in the copy");
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of deploy/");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry of that folder").path())
        .collect();
    paths.sort();
    paths
}

/// The documents of a rendered stream.
pub fn documents(rendered: &str) -> impl Iterator<Item = &str> {
    rendered.trim_end().split("\n---\n")
}

/// The documents of this kind, and the others.
pub fn split(rendered: &str, kind: &str) -> (String, String) {
    let line = format!("kind: {kind}");
    let (of_it, others): (Vec<_>, Vec<_>) =
        documents(rendered).partition(|document| document.lines().any(|text| text == line));
    (of_it.join("\n---\n"), others.join("\n---\n"))
}

/// The only object of this kind.
pub fn named<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let mut of_it = objects.iter().filter(|object| object["kind"] == kind);
    let object = of_it.next().expect(kind);
    assert!(of_it.next().is_none(), "more than one {kind}");
    object
}
