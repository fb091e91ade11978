"""CloudFormation, Terraform, the Dockerfile and what kustomize renders, by checkov.

What it finds has to be explained below, and what is explained below has to be found: a reason outlives nothing.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch

from .fault import planted

FRAMEWORKS = ["cloudformation", "terraform", "dockerfile", "kubernetes"]

# A check, the files that it is skipped in, and why.
SKIPPED = [
    ("CKV_AWS_58", "*/cluster.*", "EKS encrypts secrets by itself, with a key of its own, since Kubernetes 1.28"),
    ("CKV_AWS_158", "*.yaml", "CloudWatch encrypts logs by itself; a key of one's own is one more thing to lose"),
    ("CKV_AWS_27", "*/karpenter.yaml", "the queue encrypts with a key of SQS, which checkov does not know"),
    ("CKV_AWS_35", "*/trail.yaml", "the bucket encrypts; a key of one's own is for accounts that have one"),
    ("CKV_AWS_18", "*/trail.yaml", "who reads the log would be told in another bucket, which is the account's"),
    ("CKV_AWS_91", "*/load-balancer.yaml", "access logs want a bucket, which is the account's and not an example's"),
    ("CKV_AWS_2", "*/load-balancer.yaml", "the listener on port 80 redirects to HTTPS if there is a certificate"),
    ("CKV_AWS_103", "*/load-balancer.yaml", "the same listener; the one on 443 has a policy of TLS 1.2 and 1.3"),
    ("CKV_AWS_23", "*/load-balancer.yaml", "each rule has a description; checkov does not look behind Fn::If"),
    ("CKV_AWS_37", "*/cluster.tf", "of a lab nobody reads all of them"),
    ("CKV_AWS_39", "*/cluster.tf", "kubectl of a lab comes from outside the VPC"),
    ("CKV_AWS_38", "*/cluster.tf", "who reaches it is a variable without a default"),
    ("CKV2_AWS_11", "*/vpc.tf", "of a lab nobody reads the flow logs"),
    ("CKV_AWS_394", "*/vpc.tf", "the first three are taken, however many there are"),
    ("CKV_DOCKER_2", "Dockerfile", "Kubernetes does not read it"),
    ("CKV_K8S_8", "rendered/*", "the agent has a watchdog of its own; httpbin and nginx do nothing that can hang"),
    ("CKV_K8S_9", "rendered/*", "nobody sends requests to the agent, to the autoscaler, or to the pod of a lab"),
    ("CKV_K8S_11", "rendered/*", "no CPU limits: a throttled drain is a drain that fails"),
    ("CKV_K8S_15", "rendered/*", "Always would pull on a node that is about to go; tags here are versions"),
    ("CKV_K8S_19", "rendered/*", "metadata answers one hop away, so a process of the host has to ask"),
    ("CKV_K8S_21", "rendered/*", "events about a Node are in the namespace default, and so is the pod of a lab"),
    ("CKV_K8S_22", "rendered/*_nginx.yaml", "nginx writes its cache, in the pod of a lab"),
    ("CKV_K8S_38", "rendered/*", "these are clients of the API server"),
    ("CKV_K8S_40", "rendered/*_nginx.yaml", "101 is the user of the image"),
    ("CKV_K8S_43", "rendered/*", "a release names the agent by digest; versions of others are examples"),
]

# A file, what is right in it, a fault, and the check that finds it: some of each kind of file.
FAULTS = [
    ("spot-node-group/cloudformation/load-balancer.yaml", 'enabled, Value: "true"', 'enabled, Value: "false"', "CKV_AWS_131"),
    ("flux/cloudformation/trail.yaml", "EnableLogFileValidation: true", "EnableLogFileValidation: false", "CKV_AWS_36"),
    ("flux/cloudformation/trail.yaml", "BlockPublicAcls: true", "BlockPublicAcls: false", "CKV_AWS_53"),
    ("terraform/examples/eks-fargate/spot.tf", '= "required"', '= "optional"', "CKV_AWS_79"),
    ("Dockerfile", "USER 65532:65532\n", "", "CKV_DOCKER_3"),
    ("rendered/kustomize_base.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "CKV_K8S_20"),
    ("rendered/kustomize_base.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22"),
    ("rendered/kustomize_base.yaml", "type: RuntimeDefault", "type: Unconfined", "CKV_K8S_31"),
]


def rendered(deploy, folder):
    """What kubectl makes of each kustomization, in a file each."""
    folder.mkdir(parents=True)
    found = sorted(path.parent for path in deploy.rglob("kustomization.yaml") if "kind: Kustomization" in path.read_text())
    assert len(found) >= 10, found
    for path in found:
        run = subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True, check=True)
        name = "_".join(path.relative_to(deploy).parts)
        (folder / f"{name}.yaml").write_text(run.stdout)


def copy(root, folder):
    """The files that checkov is to read; not patches and charts, which are no whole objects."""
    deploy = root / "deploy"
    for pattern in ["**/cloudformation/*.yaml", "terraform/**/*.tf"]:
        for path in deploy.glob(pattern):
            target = folder / path.relative_to(deploy)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copy(root / "Dockerfile", folder)
    rendered(deploy, folder / "rendered")


def failures(checkov, folder):
    """The check and the path of everything that checkov finds."""
    command = [checkov, "--skip-download", "--compact", "--quiet", "--directory", folder, "--output=json"]
    for framework in FRAMEWORKS:
        command += ["--framework", framework]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LOG_LEVEL": "ERROR"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    reports = json.loads(run.stdout)
    assert {report["check_type"] for report in reports} == set(FRAMEWORKS), run
    found = set()
    for report in reports:
        assert report["summary"]["parsing_errors"] == 0, report["summary"]
        assert report["summary"]["passed"] > 10, report["summary"]
        found |= {(failed["check_id"], failed["file_path"].lstrip("/")) for failed in report["results"]["failed_checks"]}
    return found


def check(root, checkov):
    """Everything, and broken copies of some of it, in one run: half of one is checkov's own start."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        copy(root, folder)
        for number, (name, right, wrong, _) in enumerate(FAULTS):
            broken = planted((folder / name).read_text(), name, right, wrong)
            target = folder / "broken" / str(number) / name
            target.parent.mkdir(parents=True)
            target.write_text(broken)
        found = failures(checkov, folder)
    for number, (name, _, wrong, answer) in enumerate(FAULTS):
        assert (answer, f"broken/{number}/{name}") in found, f"{wrong!r} in {name} is not found"
    found = {(name, path) for name, path in found if not path.startswith("broken/")}
    explained = {(name, path) for name, path in found for own, where, _ in SKIPPED if name == own and fnmatch(path, where)}
    if found - explained:
        sys.exit("\n".join(f"{path}: {name}" for name, path in sorted(found - explained)))
    idle = [name for name, where, _ in SKIPPED if not any(name == own and fnmatch(path, where) for own, path in found)]
    assert not idle, f"skipped, and not found any more: {idle}"
    print(f"checkov finds nothing that is not explained, and {len(FAULTS)} broken copies")
