"""Serves moto on loopback with a few target groups in it, says what there is as one line of JSON, and ends with stdin."""

import json
import logging
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

INSTANCE = "i-0123456789abcdef0"
REGION = "eu-west-1"

# Each request would be a line on stderr.
logging.getLogger("werkzeug").setLevel(logging.ERROR)

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://{host}:{port}"
session = boto3.Session("setup", "setup", region_name=REGION)


def client(service):
    return session.client(service, endpoint_url=url)


vpc = client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
elb = client("elbv2")


def group(name, protocol, target_type, targets, tags=()):
    created = elb.create_target_group(
        Name=name, Protocol=protocol, Port=80, VpcId=vpc, TargetType=target_type
    )
    arn = created["TargetGroups"][0]["TargetGroupArn"]
    if targets:
        elb.register_targets(TargetGroupArn=arn, Targets=targets)
    if tags:
        elb.add_tags(ResourceArns=[arn], Tags=[{"Key": k, "Value": v} for k, v in tags])
    return arn


groups = {
    "web": group(
        "web",
        "HTTP",
        "instance",
        [{"Id": INSTANCE, "Port": 30080}, {"Id": "i-0fedcba9876543210", "Port": 30080}],
        [("interrupt-handler/enabled", "true"), ("owner", "a&b <c> é")],
    ),
    "stream": group("stream", "TCP", "instance", []),
    "pods": group("pods", "HTTP", "ip", [{"Id": "10.0.3.17", "Port": 8080}]),
}

iam = client("iam")
iam.create_user(UserName="agent")
statement = {"Effect": "Allow", "Action": "elasticloadbalancing:*", "Resource": "*"}
policy = {"Version": "2012-10-17", "Statement": [statement]}
iam.put_user_policy(UserName="agent", PolicyName="agent", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="agent")["AccessKey"]

# From here on signatures and permissions are checked.
reset = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", method="POST")
reset.add_header("Content-Type", "text/plain")
urllib.request.urlopen(reset).read()

scene = {
    "url": url,
    "region": REGION,
    "key": key["AccessKeyId"],
    "secret": key["SecretAccessKey"],
    "groups": groups,
}
print(json.dumps(scene), flush=True)
sys.stdin.read()
