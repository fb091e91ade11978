"""What check.sh runs: CloudFormation and Terraform here, the rest in checks/.

Every finding of cfn-lint is an error, warnings included: W3037 is an IAM action that does not exist. What it has no
opinion on is asserted here, and the script that labels a node is run.
"""

import argparse
import email
import functools
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import yaml
from cfnlint.decode import decode

from checks import iam, image, provider, scan, shell, table
from checks.fault import planted

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
LINT = pathlib.Path(sys.executable).with_name("cfn-lint")
# One that has every instance type, and one that has not.
REGIONS = ["us-east-1", "eu-north-1"]


def templates(root):
    found = sorted(root.glob("**/cloudformation/*.yaml"))
    assert found, f"no templates under {root}"
    return found


def lint(paths, regions):
    """What cfn-lint has to say; nothing if all is well."""
    command = [LINT, "--format", "parseable", "--regions", *regions, "--", *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (not run.stdout.strip()), run.stderr
    return run.stdout


@functools.cache
def template(text):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        decoded, findings = decode(file.name)
    assert not findings, findings
    return decoded


def resources(path, kind):
    return [found["Properties"] for found in template(path.read_text())["Resources"].values() if found["Type"] == kind]


def rules(root):
    """Every rule of ours that a template breaks."""
    broken = []

    def rule(holds, path, text):
        if not holds:
            broken.append(f"{path.relative_to(root)}: {text}")

    for path in templates(root):
        for properties in resources(path, "AWS::EC2::LaunchTemplate"):
            options = properties["LaunchTemplateData"]["MetadataOptions"]
            rule(options["HttpTokens"] == "required", path, "IMDSv2 only")
            rule(options["HttpPutResponseHopLimit"] == 1, path, "no pod of the pod network reaches the metadata")
        for properties in resources(path, "AWS::AutoScaling::AutoScalingGroup"):
            rule(properties["CapacityRebalance"] is False, path, "nothing terminates a node without a notice")
            rule(properties["HealthCheckType"] == "EC2", path, "a deregistered node is not a sick one")
            spot = properties["MixedInstancesPolicy"]["InstancesDistribution"]
            rule(spot["SpotAllocationStrategy"] == "price-capacity-optimized", path, "the pools that last")
            rule(len(properties["VPCZoneIdentifier"]) == 1, path, "one zone a group")
        for properties in resources(path, "AWS::EKS::Cluster"):
            rule(properties["AccessConfig"]["AuthenticationMode"] == "API", path, "access entries only")
        for properties in resources(path, "AWS::EKS::AccessEntry"):
            rule(properties["Type"] == "EC2_LINUX", path, "the type that lets nodes join")
        for properties in resources(path, "AWS::Logs::MetricFilter"):
            for metric in properties["MetricTransformations"]:
                rule("Dimensions" not in metric, path, "no metric for each node or instance")
        for properties in resources(path, "AWS::CloudWatch::Alarm"):
            rule("TreatMissingData" in properties, path, "missing data mean something")
        for properties in resources(path, "AWS::ElasticLoadBalancingV2::TargetGroup"):
            tags = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
            rule(tags.get("interrupt-handler/enabled") == "true", path, "the agent finds the group")
            attributes = {item["Key"]: item["Value"] for item in properties["TargetGroupAttributes"]}
            delay = int(attributes["deregistration_delay.timeout_seconds"])
            rule(delay <= 110, path, "deregistration ends within a notice")
        for properties in resources(path, "AWS::IAM::Role"):
            for policy in properties.get("Policies", []):
                for finding in iam.findings(policy["PolicyDocument"]):
                    rule(False, path, finding)
                for statement in policy["PolicyDocument"]["Statement"]:
                    actions = statement["Action"]
                    actions = [actions] if isinstance(actions, str) else actions
                    writes = [action for action in actions if not re.match(r"\w+:(Describe|Get|List)", action)]
                    # Either by a condition, or by the name of something that is the cluster's alone.
                    limited = "Condition" in statement or "${ClusterName}" in json.dumps(statement["Resource"])
                    limited = limited and statement["Resource"] != "*"
                    rule(not writes or limited, path, f"{writes} have no limit")
            for statement in trust(properties):
                equal = statement.get("Condition", {}).get("StringEquals", {})
                if statement["Action"] == "sts:AssumeRoleWithWebIdentity":
                    compared = {key.rsplit(":", 1)[1] for key in equal}
                    rule(compared == {"aud", "sub"}, path, "a role for one ServiceAccount")
                if statement["Principal"].get("Service") == "pods.eks.amazonaws.com":
                    one = "aws:RequestTag/kubernetes-service-account" in equal
                    rule(one, path, "a role for one ServiceAccount")
        rules_of_events = resources(path, "AWS::Events::Rule")
        for properties in resources(path, "AWS::SQS::Queue"):
            kinds = [kind for rule_ in rules_of_events for kind in rule_["EventPattern"].get("detail-type", [])]
            rule("EC2 Spot Instance Interruption Warning" in kinds, path, "the queue hears every warning")
        for properties in resources(path, "AWS::FIS::ExperimentTemplate"):
            [target] = properties["Targets"].values()
            rule(target["SelectionMode"] == "COUNT(1)" and "ResourceTags" in target, path, "one instance, and a marked one")
    for path in sorted(root.glob("permissions/cloudformation/*.yaml")):
        rule(agent_policy(path) == agent_policy(path.with_name("irsa.yaml")), path, "the same by both ways")
    return broken


def trust(role):
    """The statements about who may have a role, which may be text."""
    document = iam.resolved(role["AssumeRolePolicyDocument"])
    return (json.loads(document) if isinstance(document, str) else document)["Statement"]


def agent_policy(path):
    """What the agent may do, by one way of giving it a role."""
    [role] = resources(path, "AWS::IAM::Role")
    [policy] = role["Policies"]
    return iam.resolved(policy["PolicyDocument"])


class Metadata(http.server.BaseHTTPRequestHandler):
    """As much of IMDSv2 as the script asks."""

    life_cycle = ""

    def answer(self, code, body):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_PUT(self):
        asked = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.answer(200 if asked else 400, "a-token")

    def do_GET(self):
        if self.headers["X-aws-ec2-metadata-token"] != "a-token":
            self.answer(401, "")
        elif self.path == "/latest/meta-data/instance-life-cycle" and self.life_cycle:
            self.answer(200, self.life_cycle)
        else:
            self.answer(404, "")

    def log_message(self, *_):
        pass


def user_data(root):
    """The parts of nodes.yaml's user data, with something in the place of each variable."""
    path = root / "spot-node-group/cloudformation/nodes.yaml"
    [properties] = resources(path, "AWS::EC2::LaunchTemplate")
    text, values = properties["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    for name in values:
        text = text.replace("${" + name + "}", f"some-{name}")
    # What is left would be a variable that CloudFormation does not know, or a piece of the script it would take for one.
    assert "${" not in text, text
    message = email.message_from_string(text)
    assert message.is_multipart() and not message.defects, message.defects
    return {part.get_content_type(): part.get_payload() for part in message.get_payload()}, text


def labels(root):
    """Runs the script of the user data for each kind of instance."""
    parts, _ = user_data(root)
    config = yaml.safe_load(parts["application/node.eks.aws"])
    assert set(config["spec"]["cluster"]) == {"name", "apiServerEndpoint", "certificateAuthority", "cidr"}, config

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    expected = {
        "spot": ["--node-labels=lifecycle=Ec2Spot"],
        "on-demand": [
            "--node-labels=lifecycle=OnDemand",
            "--register-with-taints=onDemandInstance=true:PreferNoSchedule",
        ],
        # No answer: no drop-in, and cloud-init reports the failure.
        "": None,
    }
    for life_cycle, flags in expected.items():
        Metadata.life_cycle = life_cycle
        with tempfile.TemporaryDirectory() as folder:
            script = parts["text/x-shellscript"].lstrip()
            assert script.startswith("#!/bin/bash\n"), script
            for there, here in [
                ("http://169.254.169.254", f"http://127.0.0.1:{server.server_port}"),
                ("/etc/eks/nodeadm.d", f"{folder}/nodeadm.d"),
            ]:
                assert script.count(there) == 1, there
                script = script.replace(there, here)
            environment = {"PATH": os.environ["PATH"]}
            run = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=False)
            drop_in = pathlib.Path(folder, "nodeadm.d/10-lifecycle.yaml")
            assert (run.returncode == 0) == (flags is not None), (life_cycle, run)
            assert drop_in.exists() == (flags is not None), (life_cycle, run)
            if flags is not None:
                written = yaml.safe_load(drop_in.read_text())
                assert written["kind"] == "NodeConfig", written
                assert written["apiVersion"] == config["apiVersion"], written
                assert written["spec"]["kubelet"]["flags"] == flags, written
    server.shutdown()


# A file, what is right in it, a fault, and what has to find it: a word of cfn-lint's answer or of a rule of ours.
FAULTS = [
    ("alarms.yaml", "MetricValue: \"1\"", "MetricValue: \"1\"\n          Dimensions: [{ Key: node, Value: $.node }]", "each node"),
    ("alarms.yaml", "TreatMissingData: breaching", "AlarmName: silent", "E0000:Duplicate"),
    ("alarms.yaml", "      TreatMissingData: breaching\n", "", "missing data"),
    ("alarms.yaml", "ComparisonOperator: LessThanThreshold", "ComparisonOperator: LessThan", "E3030"),
    ("cross-check.yaml", "[Spoke, Arn]", "[Spok, Arn]", "E1010"),
    ("load-balancer.yaml", "  TargetGroup:\n    Type", "  LoadBalancer:\n    Type", "E0000:Duplicate"),
    ("pod-identity.yaml", "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTag", "W3037"),
    ("pod-identity.yaml", "!GetAtt AgentRole.Arn", "!GetAtt AgentRoll.Arn", "E1010"),
    ("nodes.yaml", "CapacityRebalance: false", "CapacityRebalances: false", "E3002"),
    ("nodes.yaml", "CapacityRebalance: false", "CapacityRebalance: true", "without a notice"),
    ("nodes.yaml", "HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 2", "reaches the metadata"),
    ("nodes.yaml", "HttpTokens: required", "HttpTokens: optional", "IMDSv2 only"),
    ("cluster.yaml", "Type: EC2_LINUX", "Type: STANDARD", "nodes join"),
    ("load-balancer.yaml", "interrupt-handler/enabled", "interrupt-handler/enable", "finds the group"),
    ("pod-identity.yaml", ":targetgroup/*/*\n                Condition:", ":targetgroup/*/*\n                Limits:", "E3510"),
    ("pod-identity.yaml", "aws:RequestTag/kubernetes-service-account", "aws:RequestTag/service-account", "one ServiceAccount"),
    ("pod-identity.yaml", "                  - elasticloadbalancing:DescribeTags\n", "", "the same by both ways"),
    ("pod-identity.yaml", ":targetgroup/*/*", ":loadbalancer/*/*", "no resource like"),
    ("pod-identity.yaml", "aws:ResourceTag/interrupt-handler/enabled", "elasticloadbalancing:Tag", "not know the condition"),
    ("irsa.yaml", '${Issuer}:sub": "system', '${Issuer}:amr": "system', "one ServiceAccount"),
    ("autoscaler.yaml", "- autoscaling:SetDesiredCapacity", '- "autoscaling:*"', "more than one action"),
    ("exercise.yaml", "instance/*", "volume/*", "no resource like"),
    ("exercise.yaml", "SelectionMode: COUNT(1)", "SelectionMode: ALL", "a marked one"),
    ("add-ons.yaml", "ResolveConflicts: OVERWRITE", "ResolveConflicts: REPLACE", "E3030"),
    ("karpenter.yaml", "[EC2 Spot Instance Interruption Warning]", "[EC2 Spot Warning]", "every warning"),
    ("trail.yaml", "IsLogging: true", "IsLogged: true", "E3002"),
    ("fargate-profile.yaml", "- Namespace: !Ref Namespace", "- Namespaces: !Ref Namespace", "E3002"),
]


def broken_copies():
    """Each fault in a copy of its own, all of which are linted at once: most of cfn-lint's time is its start."""
    with tempfile.TemporaryDirectory() as folder:
        broken = []
        for number, (name, right, wrong, _) in enumerate(FAULTS):
            root = pathlib.Path(folder, str(number))
            for original in templates(HERE):
                copied = root / original.relative_to(HERE)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(original, copied)
            [path] = root.glob(f"*/cloudformation/{name}")
            path.write_text(planted(path.read_text(), name, right, wrong))
            broken.append((root, path))
        linted = lint([path for _, path in broken], REGIONS[:1]).splitlines()
        for (root, path), (name, _, wrong, answer) in zip(broken, FAULTS):
            found = [line for line in linted if line.startswith(f"{path}:")] or rules(root)
            assert re.search(answer, "\n".join(found)), f"{wrong!r} in {name} is not found: {found!r}"


class Terraform:
    """Terraform, or OpenTofu, without any configuration of whoever runs this."""

    def __init__(self):
        self.program = shutil.which("terraform") or shutil.which("tofu")

    def run(self, folder, *arguments):
        nothing = {"TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **nothing}
        command = [self.program, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    def complaint(self, root):
        """What is wrong with the form of all files, or with the module; nothing if all is well."""
        module = root / "modules/spot-interrupt-handler"
        for folder, arguments in [
            (root, ["fmt", "-check", "-diff", "-recursive"]),
            (module, ["init", "-input=false", "-no-color"]),
            (module, ["validate", "-no-color"]),
            (module, ["test", "-no-color"]),
        ]:
            run = self.run(folder, *arguments)
            if run.returncode != 0:
                return f"{' '.join(arguments)}: {run.stdout}{run.stderr}"
        return ""

    def apply(self, root):
        module = root / "modules/spot-interrupt-handler"
        node = {"endpoint": "some-Endpoint", "certificate_authority": "some-CertificateAuthority"}
        node["service_cidr"] = "some-ServiceCidr"
        values = {"cluster_name": "some-Name", "region": "eu-west-1", "account_id": "111122223333", "node": node}
        (module / "values.auto.tfvars.json").write_text(json.dumps(values))
        applied = self.run(module, "apply", "-auto-approve", "-no-color")
        assert applied.returncode == 0, applied

    def output(self, root, name):
        return self.run(root / "modules/spot-interrupt-handler", "output", "-raw", name).stdout


# A file of the module, what is right in it, and a fault that its tests or the form of it tell.
TERRAFORM_FAULTS = [
    ("main.tf", "aws:ResourceTag/", "aws:RequestTag/"),
    ("main.tf", '"elasticloadbalancing:DescribeTags"', '"elasticloadbalancing:AddTags"'),
    ("main.tf", ":sub\"", ":subject\""),
    ("outputs.tf", "jsonencode(local.policy)", "jsonencode(local.polcy)"),
    ("variables.tf", "  type        = string", "  type = string"),
]


def terraform():
    """The module, and that it says what CloudFormation does."""
    tool = Terraform()
    if tool.program is None:
        assert os.environ.get("CI") != "true", "no terraform and no tofu: under CI the module must be tested"
        print("#### NO TERRAFORM ON THIS MACHINE: deploy/terraform is not tested. ####", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "terraform")
        shutil.copytree(HERE / "terraform", root)
        found = tool.complaint(root)
        if found:
            sys.exit(found)
        # Both files have the script that labels a node, and only one of them is run above.
        _, expected = user_data(HERE)
        tool.apply(root)
        assert tool.output(root, "user_data") == expected, "user-data.tftpl is not what nodes.yaml has"
        policy = json.loads(tool.output(root, "policy"))
        assert policy == agent_policy(HERE / "permissions/cloudformation/irsa.yaml"), "the module gives another policy"
    for name, right, wrong in TERRAFORM_FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder, "terraform")
            shutil.copytree(HERE / "terraform", root)
            path = root / "modules/spot-interrupt-handler" / name
            path.write_text(planted(path.read_text(), name, right, wrong))
            assert tool.complaint(root), f"{wrong!r} in {name} is not found"
    print(f"the Terraform module is right, {len(TERRAFORM_FAULTS)} broken copies are not")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkov", required=True, help="the program")
    parser.add_argument("--provider", required=True, type=pathlib.Path, help="the folder of the package")
    arguments = parser.parse_args()
    found = lint(templates(HERE), REGIONS) + "\n".join(rules(HERE))
    if found:
        sys.exit(found)
    table.check(ROOT)
    labels(HERE)
    broken_copies()
    print(f"{len(templates(HERE))} templates are right, {len(FAULTS)} broken copies are not")
    for policy in iam.documented((ROOT / "docs/install.md").read_text()):
        assert not iam.findings(policy), iam.findings(policy)
    parts, _ = user_data(HERE)
    shell.check(ROOT, parts["text/x-shellscript"].lstrip())
    image.check(ROOT)
    terraform()
    provider.check(HERE / "terraform", arguments.provider)
    scan.check(ROOT, arguments.checkov)


if __name__ == "__main__":
    main()
