"""The Terraform example, held against the arguments and attributes of the AWS provider.

The provider itself is in Terraform's registry alone, and `terraform validate` wants it. What it takes is also in a Python
package that CDK for Terraform had made of its schema (the version is in check.sh, the provider's in each file of it): the
arguments of each resource and of each block in it, which of them are required, and what can be asked of a resource.
That is read here, as text. What it does not tell is whether a value is a good one.
"""

import json
import pathlib
import re
import shutil
import tempfile
import zipfile

import hcl2

from .fault import planted

SIGNATURE = re.compile(r"\nclass (\w+)\b.*?\n    def __init__\(\n(.*?)\n    \) -> None:", re.DOTALL)
PARAMETER = re.compile(r"^        (\w+): (.*?)( = None)?,$", re.MULTILINE)
PROPERTY = re.compile(r"\n    @builtins\.property\n.*?\n    def (\w+)\(self\)", re.DOTALL)
REFERENCE = re.compile(r"(?<![\w.])(data\.)?(aws_\w+)\.(\w+)((?:\[[^\]]*\])?\.(\w+))?")


class Provider:
    """What the package says, one kind of resource at a time."""

    def __init__(self, folder):
        [path] = folder.glob("*.whl")
        self.archive = zipfile.ZipFile(path)
        self.kinds = {}

    def kind(self, name):
        """The file about a resource, or about a data source; none if there is no such thing."""
        if name not in self.kinds:
            module = name.removeprefix("aws_").replace("data.", "data_")
            try:
                text = self.archive.read(f"cdktf_cdktf_provider_aws/{module}/__init__.py").decode()
            except KeyError:
                text = None
            self.kinds[name] = text and Kind(text)
        return self.kinds[name]


class Kind:
    def __init__(self, text):
        # The first signature of a class is its own; the resource itself is the first class.
        self.classes = {}
        for found in SIGNATURE.finditer(text):
            parameters = PARAMETER.findall(found[2])
            self.classes.setdefault(found[1], {name: (kind, not optional) for name, kind, optional in parameters})
        self.resource = next(iter(self.classes))
        # The package's own two, before all others: where the resource is, and what it is called there.
        for own in list(self.classes[self.resource])[:2]:
            del self.classes[self.resource][own]
        head = text.split(f"\nclass {self.resource}Config", 1)[0]
        self.attributes = {*PROPERTY.findall(head), *self.classes[self.resource]}

    def complaints(self, body, name=None):
        """What is wrong with the arguments of a resource, or of the block that has this class."""
        known = self.classes[name or self.resource]
        given = {key: value for key, value in body.items() if not key.startswith("__")}
        for key, value in given.items():
            if key == "lifecycle":
                continue
            if key not in known:
                yield f"no argument {key}"
                continue
            block = re.search(rf'"({self.resource}\w+)"', known[key][0])
            blocks = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
            if bool(block) != bool(blocks and all("__is_block__" in item for item in blocks)):
                yield f"{key} is {'a' if block else 'no'} block"
                continue
            for item in blocks if block else []:
                yield from (f"{key}: {complaint}" for complaint in self.complaints(item, block[1]))
        for key, (_, required) in known.items():
            if required and key not in given:
                yield f"{key} is missing"


def findings(folder, provider):
    """What is wrong with the files of a folder."""
    texts = [path.read_text() for path in sorted(folder.glob("*.tf"))]
    assert len(texts) >= 4, folder
    declared = set()
    for text in texts:
        document = hcl2.loads(text)
        for sort, prefix in [("resource", ""), ("data", "data.")]:
            for entry in document.get(sort, []):
                [(kind, named)] = entry.items()
                [(name, body)] = named.items()
                kind, name = prefix + kind.strip('"'), name.strip('"')
                declared.add((kind, name))
                known = provider.kind(kind)
                if known is None:
                    yield f"{kind} is nothing of the provider's"
                    continue
                yield from (f"{kind}.{name}: {complaint}" for complaint in known.complaints(body))
    assert len(declared) >= 20, declared
    for text in texts:
        code = re.sub(r"#[^\n]*", "", text)
        for data, kind, name, _, attribute in REFERENCE.findall(code):
            known = provider.kind(data + kind)
            if (data + kind, name) not in declared:
                yield f"{data}{kind}.{name} is nowhere"
            elif attribute and known and attribute not in known.attributes:
                yield f"{data}{kind}.{name} has no {attribute}"


# A file, what is right in it, a fault, and what finds it.
FAULTS = [
    ("cluster.tf", "  role_arn = aws", "  role = aws", "no argument role"),
    ("cluster.tf", "authentication_mode ", "authentication_type ", "no argument authentication_type"),
    ("fargate.tf", "    namespace = \"default\"\n", "", "namespace is missing"),
    ("spot.tf", "scaling_config {", "scaling_config = {", "scaling_config is a block"),
    ("spot.tf", "latest_version", "newest_version", "has no newest_version"),
    ("spot.tf", "node_role_arn   = aws_iam_role.node.arn", "node_role_arn = aws_iam_role.nodes.arn", "is nowhere"),
    ("vpc.tf", 'resource "aws_nat_gateway"', 'resource "aws_nat_gate"', "nothing of the provider's"),
]


def check(terraform, package):
    provider = Provider(package)
    example = terraform / "examples/eks-fargate"
    found = list(findings(example, provider))
    assert not found, found
    for name, right, wrong, answer in FAULTS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary, "example")
            shutil.copytree(example, folder)
            text = (folder / name).read_text()
            (folder / name).write_text(planted(text, name, right, wrong))
            found = json.dumps(list(findings(folder, provider)))
            assert answer in found, f"{wrong!r} in {name} is not found: {found}"
    print(f"the Terraform example gives the provider what it takes, {len(FAULTS)} broken copies do not")
