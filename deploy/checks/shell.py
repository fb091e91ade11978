"""Every shell script of the repository, by shellcheck: files, the user data of nodes, and the steps of workflows."""

import pathlib
import re
import subprocess
import sys

import yaml

from .fault import planted

SHELLCHECK = pathlib.Path(sys.executable).with_name("shellcheck")
SHEBANG = re.compile(r"#!\S*[/ ](env )?(ba)?sh\b")


def files(root):
    """Every script with its name, wherever it is."""
    for folder in [".ci", "deploy", "tests"]:
        for path in sorted(pathlib.Path(root, folder).rglob("*")):
            if not path.is_file() or path.suffix in {".py", ".rs", ".tftpl"}:
                continue
            with path.open("rb") as opened:
                first = opened.readline(80).decode(errors="replace")
            if SHEBANG.match(first):
                yield str(path.relative_to(root)), path.read_text()


def steps(root):
    """Every script in a workflow, as GitHub runs it."""
    for path in sorted(pathlib.Path(root, ".github/workflows").glob("*.yml")):
        for job, given in yaml.safe_load(path.read_text())["jobs"].items():
            for number, step in enumerate(given.get("steps", [])):
                if "run" in step:
                    given_here = {**given.get("env", {}), **step.get("env", {})}
                    variables = "".join(f"export {name}=given\n" for name in given_here)
                    head = f"#!/bin/bash\nset -eo pipefail\n{variables}"
                    yield f"{path.name}: {job}: step {number}", head + step["run"]


def findings(script):
    """What shellcheck has to say; nothing if all is well."""
    run = subprocess.run(
        [SHELLCHECK, "--norc", "--format=gcc", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) == (not run.stdout) and not run.stderr, run
    return run.stdout


# What is right in a script, a fault, and what finds it.
FAULTS = [
    ('"X-aws-ec2-metadata-token: $token"', "X-aws-ec2-metadata-token:$token", "SC2086"),
    ('if [ "$life_cycle" = spot ]', 'if [ "$life_cycles" = spot ]', "SC2154"),
    ("\nfi\n", "\n", "SC1089|SC1046|SC1073"),
    ("set -euo pipefail", "cd /etc/eks", "SC2164"),
]


def check(root, user_data):
    """All scripts, and that a broken copy of one is found."""
    scripts = {**dict(files(root)), **dict(steps(root)), "user data": user_data}
    assert len(scripts) >= 15, sorted(scripts)
    for name, script in scripts.items():
        found = findings(script)
        if found:
            sys.exit(f"{name}:\n{found}")
    for right, wrong, answer in FAULTS:
        found = findings(planted(user_data, "the user data", right, wrong))
        assert re.search(answer, found), f"{wrong!r} is not found: {found!r}"
    print(f"{len(scripts)} shell scripts are right, {len(FAULTS)} broken copies are not")
