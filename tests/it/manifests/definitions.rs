//! The custom resource definitions of those whose objects `deploy/` has.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::control_plane::ControlPlane;

/// A module of `tests/crds/go.mod` and the definitions wanted of it.
const MODULES: [(&str, &[&str]); 3] = [
    (
        "github.com/aws/karpenter-provider-aws",
        &[
            "pkg/apis/crds/karpenter.k8s.aws_ec2nodeclasses.yaml",
            "pkg/apis/crds/karpenter.sh_nodepools.yaml",
        ],
    ),
    (
        "github.com/fluxcd/kustomize-controller",
        &["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    ),
    (
        "github.com/fluxcd/source-controller",
        &[
            "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
        ],
    ),
];

/// Written after those of others, as far as they are used.
const OWN: [&str; 2] = ["helmreleases.yaml", "instancegroups.yaml"];

/// Applies them, once. False without Go, which fetches them; under CI that is a failure.
pub async fn installed(plane: &ControlPlane) -> bool {
    static INSTALLED: OnceCell<bool> = OnceCell::const_new();
    *INSTALLED.get_or_init(|| install(plane)).await
}

async fn install(plane: &ControlPlane) -> bool {
    let Some(mut manifests) = fetched().await else {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "no Go: under CI the custom resources must be tested");
        return false;
    };
    manifests.extend(OWN.map(|file| read(&folder().join(file))));
    for manifest in manifests {
        let applied = plane.apply(&[], manifest.into_bytes()).await;
        applied.unwrap_or_else(|complaint| panic!("{complaint}"));
    }
    let kubeconfig = format!("--kubeconfig={}", plane.admin_kubeconfig().display());
    let wait = [
        "wait",
        "--for=condition=Established",
        "crd",
        "--all",
        "--timeout=60s",
        &kubeconfig,
    ];
    let waited = crate::control_plane::kubectl(&wait, None).await;
    waited.unwrap_or_else(|complaint| panic!("{complaint}"));
    true
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crds"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// From the modules, which Go keeps and checks.
async fn fetched() -> Option<Vec<String>> {
    let mut manifests = Vec::new();
    for (module, files) in MODULES {
        let download = Command::new("go")
            .args(["mod", "download", "-json", module])
            .current_dir(folder())
            .env("GOFLAGS", "-mod=readonly")
            .stdin(Stdio::null())
            .output()
            .await;
        let output = match download {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            other => other.expect("go runs"),
        };
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{module}: {error}: {output:?}"));
        let Some(folder) = said["Dir"].as_str() else {
            panic!("{module}: {}", said["Error"]);
        };
        manifests.extend(files.iter().map(|file| read(&Path::new(folder).join(file))));
    }
    Some(manifests)
}
