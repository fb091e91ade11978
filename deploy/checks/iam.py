"""What the roles of deploy/ may do, held against the actions, resources and conditions that AWS documents.

policy_sentry has them as data. A statement that allows something has to name actions one by one, limit each action that
changes something to a resource if AWS can, name resources that the action has, and ask for conditions that it knows.
"""

import json
import re

from policy_sentry.querying.actions import get_action_data

# In the places of what CloudFormation knows.
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "111122223333",
    "AWS::StackName": "a-stack",
    "AWS::URLSuffix": "amazonaws.com",
}


def resolved(value):
    """A value of a template as it would reach IAM; None for what only CloudFormation knows."""
    if isinstance(value, dict):
        if set(value) == {"Fn::Sub"}:
            text = value["Fn::Sub"]
            assert isinstance(text, str), text
            # A wildcard is what a name of ours could be anything as.
            return re.sub(r"\$\{([^}]+)\}", lambda found: PSEUDO.get(found[1], "some-name"), text)
        if set(value) <= {"Ref", "Fn::GetAtt", "Fn::ImportValue", "Fn::If"} and value:
            return None
        return {key: resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    return value


def listed(value):
    return value if isinstance(value, list) else [value]


def rows(action):
    """What AWS documents about an action, one row for each kind of resource."""
    service, name = action.split(":", 1)
    found = get_action_data(service, name)
    return found[service] if found else []


def fits(text, documented):
    """Whether a text is one that AWS documents with ${Names} in it."""
    return re.fullmatch(re.sub(r"\\\$\\\{[^}]*\\\}", ".+", re.escape(documented)), text) is not None


def knows(row, key):
    """Whether an action has a condition key. The keys of aws: that are about the caller are everybody's."""
    if key.startswith("aws:") and not key.startswith(("aws:ResourceTag/", "aws:RequestTag/", "aws:TagKeys")):
        return True
    return any(fits(key, known) for known in row["condition_keys"])


def statement(allowed):
    """What is wrong with one statement."""
    keys = [key for conditions in allowed.get("Condition", {}).values() for key in conditions]
    for action in listed(allowed["Action"]):
        if "*" in action:
            yield f"{action} is more than one action"
            continue
        documented = rows(action)
        if not documented:
            yield f"{action} is no action"
            continue
        for key in keys:
            if not any(knows(row, key) for row in documented):
                yield f"{action} does not know the condition {key}"
        formats = {row["resource_arn_format"] for row in documented} - {"*"}
        looks = {row["access_level"] for row in documented} <= {"List", "Read"}
        for resource in listed(allowed["Resource"]):
            if resource == "*":
                if formats and not looks:
                    yield f"{action} could be limited to {sorted(formats)}"
            elif resource is not None and not any(fits(resource, known) for known in formats):
                yield f"{action} has no resource like {resource}"


def findings(policy):
    """What is wrong with a policy."""
    policy = resolved(policy)
    assert policy["Version"] == "2012-10-17", policy["Version"]
    statements = [given for given in policy["Statement"] if given["Effect"] == "Allow"]
    assert statements, "a policy that allows nothing"
    return [finding for given in statements for finding in statement(given)]


def documented(page):
    """The policies that a page tells a reader to use."""
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    found = [block for block in map(json.loads, blocks) if "Statement" in block]
    assert found, "the page has no policy"
    return found
