"""The Dockerfile, by hadolint, which reads the shell in it as well."""

import pathlib
import subprocess
import sys

from .fault import planted

HADOLINT = pathlib.Path(sys.executable).with_name("hadolint")

# What is right in the file, a fault, and what finds it.
FAULTS = [
    ("USER 65532:65532", "USER root", "DL3002"),
    ("rust:1.95-bookworm", "rust:latest", "DL3007"),
    ("COPY src ./src", "ADD src ./src", "DL3020"),
    ('ENTRYPOINT ["/spot-interrupt-handler"]', "ENTRYPOINT /spot-interrupt-handler", "DL3025"),
    ("WORKDIR /src", "WORKDIR src", "DL3000"),
    ('case "$TARGETARCH" in', 'cd /src; case $TARGETARCHS in', "SC2154|DL3003"),
    ("FROM scratch", "FORM scratch", "unexpected"),
]


def findings(text):
    """What hadolint has to say; nothing if all is well."""
    run = subprocess.run([HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    assert (run.returncode == 0) == (not said), run
    return said


def check(root):
    text = pathlib.Path(root, "Dockerfile").read_text()
    found = findings(text)
    if found:
        sys.exit(found)
    for right, wrong, answers in FAULTS:
        found = findings(planted(text, "the Dockerfile", right, wrong))
        assert any(answer in found for answer in answers.split("|")), f"{wrong!r} is not found: {found!r}"
    print(f"the Dockerfile is right, {len(FAULTS)} broken copies are not")
