"""What check.sh runs, in the environment that has cfn-lint: CloudFormation first, then Terraform.

Every finding of cfn-lint is an error, warnings included: W3037 is an IAM action that does not exist. What it has no
opinion on is asserted here, and the script that labels a node is run.
"""

import email
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

HERE = pathlib.Path(__file__).resolve().parent
LINT = pathlib.Path(sys.executable).with_name("cfn-lint")
# One that has every instance type, and one that has not.
REGIONS = ["us-east-1", "eu-north-1"]


def templates(root):
    found = sorted(root.glob("**/cloudformation/*.yaml"))
    assert found, f"no templates under {root}"
    return found


def lint(paths):
    """What cfn-lint has to say; nothing if all is well."""
    command = [LINT, "--regions", *REGIONS, "--", *paths]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) == (not run.stdout.strip()), run.stderr
    return run.stdout


def resources(path, kind):
    template, findings = decode(str(path))
    assert not findings, findings
    return [found["Properties"] for found in template["Resources"].values() if found["Type"] == kind]


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
                for statement in policy["PolicyDocument"]["Statement"]:
                    actions = statement["Action"]
                    actions = [actions] if isinstance(actions, str) else actions
                    writes = [action for action in actions if not re.match(r"\w+:(Describe|Get|List)", action)]
                    limited = statement["Resource"] != "*" and "Condition" in statement
                    rule(not writes or limited, path, f"{writes} have no limit")
            for statement in properties["AssumeRolePolicyDocument"]["Statement"]:
                if statement["Principal"]["Service"] == "pods.eks.amazonaws.com":
                    tags = statement.get("Condition", {}).get("StringEquals", {})
                    one = "aws:RequestTag/kubernetes-service-account" in tags
                    rule(one, path, "a role for one ServiceAccount")
    return broken


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
    ("alarms.yaml", "TreatMissingData: breaching", "AlarmName: silent", "E0000 Duplicate found"),
    ("alarms.yaml", "      TreatMissingData: breaching\n", "", "missing data"),
    ("alarms.yaml", "ComparisonOperator: LessThanThreshold", "ComparisonOperator: LessThan", "E3030"),
    ("cross-check.yaml", "[Spoke, Arn]", "[Spok, Arn]", "E1010"),
    ("load-balancer.yaml", "  TargetGroup:\n    Type", "  LoadBalancer:\n    Type", "E0000 Duplicate found"),
    ("permissions.yaml", "elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTag", "W3037"),
    ("permissions.yaml", "!GetAtt AgentRole.Arn", "!GetAtt AgentRoll.Arn", "E1010"),
    ("nodes.yaml", "CapacityRebalance: false", "CapacityRebalances: false", "E3002"),
    ("nodes.yaml", "CapacityRebalance: false", "CapacityRebalance: true", "without a notice"),
    ("nodes.yaml", "HttpPutResponseHopLimit: 1", "HttpPutResponseHopLimit: 2", "reaches the metadata"),
    ("nodes.yaml", "HttpTokens: required", "HttpTokens: optional", "IMDSv2 only"),
    ("cluster.yaml", "Type: EC2_LINUX", "Type: STANDARD", "nodes join"),
    ("load-balancer.yaml", "interrupt-handler/enabled", "interrupt-handler/enable", "finds the group"),
    ("permissions.yaml", ":targetgroup/*/*\n                Condition:", ":targetgroup/*/*\n                Limits:", "E3510"),
    ("permissions.yaml", "aws:RequestTag/kubernetes-service-account", "aws:RequestTag/service-account", "one ServiceAccount"),
]


def broken_copies():
    for name, right, wrong, answer in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for system in ["alerts", "spot-node-group"]:
                shutil.copytree(HERE / system, root / system)
            [path] = root.glob(f"*/cloudformation/{name}")
            text = path.read_text()
            assert right in text, f"{name} has no {right!r}"
            path.write_text(text.replace(right, wrong, 1))
            found = lint([path]) or "\n".join(rules(root))
            assert found and answer in found, f"{wrong!r} in {name} is not found: {found!r}"


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

    def user_data(self, root):
        module = root / "modules/spot-interrupt-handler"
        node = {"endpoint": "some-Endpoint", "certificate_authority": "some-CertificateAuthority"}
        node["service_cidr"] = "some-ServiceCidr"
        values = {"cluster_name": "some-Name", "region": "eu-west-1", "account_id": "111122223333", "node": node}
        (module / "values.auto.tfvars.json").write_text(json.dumps(values))
        applied = self.run(module, "apply", "-auto-approve", "-no-color")
        assert applied.returncode == 0, applied
        return self.run(module, "output", "-raw", "user_data").stdout


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
        assert tool.user_data(root) == expected, "user-data.tftpl is not what nodes.yaml has"
    for name, right, wrong in TERRAFORM_FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder, "terraform")
            shutil.copytree(HERE / "terraform", root)
            path = root / "modules/spot-interrupt-handler" / name
            text = path.read_text()
            assert right in text, f"{name} has no {right!r}"
            path.write_text(text.replace(right, wrong, 1))
            assert tool.complaint(root), f"{wrong!r} in {name} is not found"
    print(f"the Terraform module is right, {len(TERRAFORM_FAULTS)} broken copies are not")


def main():
    found = lint(templates(HERE)) + "\n".join(rules(HERE))
    if found:
        sys.exit(found)
    labels(HERE)
    broken_copies()
    print(f"{len(templates(HERE))} templates are right, {len(FAULTS)} broken copies are not")
    terraform()


if __name__ == "__main__":
    main()
