"""The table of deploy/README.md: each file in a row, each row with a proof, each proof there to be run."""

import pathlib
import re
import subprocess
import sys

from .fault import planted

# The checks and the pages themselves.
OTHERS = re.compile(r"(checks/.*|check\.(py|sh)|(.*/)?README\.md)")
TITLE = "## What is here, and how it is proved\n"
LINK = re.compile(r"\]\(([^)]+)\)")
CODE = re.compile(r"`([^`]+)`")


def rows(page):
    _, part = page.split(TITLE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    head, _, *body = cells
    assert head == ["system", "what of it", "file", "how it is proved"] and len(body) >= 25, head
    return body


def findings(page, files, proofs):
    """What is wrong with the table, given the files of deploy/ and everything that can prove something."""
    system, linked = "", []
    for row in rows(page):
        system = row[0] or system
        if len(row) != 4 or not system or not all(row[1:]):
            yield f"an empty cell: {row}"
            continue
        _, what, where, how = row
        links = LINK.findall(where)
        yield from (f"{link} is nowhere" for link in links if not any(below(file, link) for file in files))
        linked += links
        named = [code for code in CODE.findall(how) if code.count("_") >= 3 or code.endswith(".py")]
        if not named:
            yield f"{system}, {what}: no test and no check is named"
        yield from (f"{name} is no test and no check" for name in named if name not in proofs)
    for file in files:
        if not OTHERS.fullmatch(file) and not any(below(file, link) for link in linked):
            yield f"{file} is in no row"


def below(file, link):
    return file == link or file.startswith(f"{link}/")


def kept(root):
    """The files of deploy/, without what somebody has lying about there."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "."]
    run = subprocess.run(listed, cwd=root / "deploy", capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return sorted(file for file in run.stdout.splitlines() if (root / "deploy" / file).exists())
    return sorted(str(path.relative_to(root / "deploy")) for path in (root / "deploy").rglob("*") if path.is_file())


def provable(root):
    """The names of all tests, and of the checks that check.py runs."""
    sources = [path.read_text() for path in pathlib.Path(root, "tests/it").rglob("*.rs")]
    tests = {name for text in sources for name in re.findall(r"#\[(?:tokio::)?test\]\n(?:async )?fn (\w+)\(", text)}
    main = (root / "deploy/check.py").read_text()
    checks = {f"{name}.py" for name in re.findall(r"\b(\w+)\.(?:check|findings)\(", main)}
    return tests | checks | {"check.py"}


# What is right in the page, a fault, and what finds it.
FAULTS = [
    ("| `a_build_gets_a_size_that_fargate_has_and_none_that_it_has_not` |", "| |", "an empty cell"),
    ("`a_build_gets_a_size_that_fargate_has_and_none_that_it_has_not`", "by reading it", "no test and no check"),
    ("`a_build_gets_a_size_that_fargate_has_and_none_that_it_has_not`", "`a_build_gets_a_size_of_its_own`", "is no test"),
    ("(builds-on-fargate/limitrange.yaml)", "(builds-on-fargate/limits.yaml)", "is nowhere.*limitrange.yaml is in no row"),
]


def check(root):
    page = (root / "deploy/README.md").read_text()
    files, proofs = kept(root), provable(root)
    found = list(findings(page, files, proofs))
    if found:
        sys.exit("\n".join(found))
    for right, wrong, answer in FAULTS:
        found = "\n".join(findings(planted(page, "the page", right, wrong), files, proofs))
        assert re.search(answer, found, re.DOTALL), f"{wrong!r} is not found: {found!r}"
    print(f"{len(rows(page))} rows of deploy/README.md have a proof, {len(FAULTS)} broken copies do not")
