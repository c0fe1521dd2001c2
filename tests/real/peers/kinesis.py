"""The other end of a stream: makes streams and principals, and reads streams back, through boto3.

    kinesis.py ENDPOINT COMMAND ...

Answers are JSON lines on stdout. Credentials, region and trust come from the environment, as with every AWS tool.
"""

import base64
import json
import sys
import time

import boto3
from botocore.config import Config


def create_stream(client, name, shards, max_record_kib=None):
    """Makes a stream and prints its ARN once it can be written to."""
    settings = {"MaxRecordSizeInKiB": int(max_record_kib)} if max_record_kib else {}
    client("kinesis").create_stream(StreamName=name, ShardCount=int(shards), **settings)
    for _ in range(200):
        summary = client("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        if summary["StreamStatus"] == "ACTIVE":
            return print(json.dumps({"arn": summary["StreamARN"]}))
        time.sleep(0.05)
    sys.exit(f"stream {name} is still {summary['StreamStatus']}")


def put(client, name):
    """Puts the records of stdin (JSON lines with base64 `data` and a `partition_key`) without the plugin."""
    records = [json.loads(line) for line in sys.stdin]
    answer = client("kinesis").put_records(
        StreamName=name,
        Records=[{"Data": base64.b64decode(r["data"]), "PartitionKey": r["partition_key"]} for r in records],
    )
    print(json.dumps({"failed": answer["FailedRecordCount"]}))


def read(client, name):
    """Prints every record of every shard, from the oldest on."""
    kinesis = client("kinesis")
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=10000)
            for record in answer["Records"]:
                print(
                    json.dumps(
                        {
                            "data": base64.b64encode(record["Data"]).decode(),
                            "partition_key": record["PartitionKey"],
                            "shard": shard["ShardId"],
                        }
                    )
                )
            at_the_tip = not answer["Records"] and not answer.get("MillisBehindLatest")
            iterator = None if at_the_tip else answer.get("NextShardIterator")


def shards(client, name):
    """Prints the ranges of the shards."""
    for shard in client("kinesis").list_shards(StreamName=name)["Shards"]:
        hash_keys = shard["HashKeyRange"]
        print(
            json.dumps(
                {"id": shard["ShardId"], "start": hash_keys["StartingHashKey"], "end": hash_keys["EndingHashKey"]}
            )
        )


def create_user(client, name, *actions):
    """Makes a user who may do `actions`, and prints an access key of theirs."""
    client("iam").create_user(UserName=name)
    client("iam").put_user_policy(UserName=name, PolicyName="allowed", PolicyDocument=policy(Action=list(actions)))
    key = client("iam").create_access_key(UserName=name)["AccessKey"]
    print(json.dumps({"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}))


def create_role(client, name, external_id, *actions):
    """Makes a role that may do `actions`, assumed only with `external_id`, and prints its ARN."""
    trust = {"Principal": {"AWS": "*"}, "Condition": {"StringEquals": {"sts:ExternalId": external_id}}}
    role = client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=policy(Action="sts:AssumeRole", resource=None, **trust)
    )["Role"]
    client("iam").put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy(Action=list(actions)))
    print(json.dumps({"arn": role["Arn"]}))


def create_pod_role(client, name, issuer, subject, *actions):
    """Makes a role that may do `actions`, for `subject` with a token of `issuer`, and prints its ARN."""
    provider = f"arn:aws:iam::000000000000:oidc-provider/{issuer}"
    trust = {"Principal": {"Federated": provider}, "Condition": {"StringEquals": {f"{issuer}:sub": subject}}}
    document = policy(Action="sts:AssumeRoleWithWebIdentity", resource=None, **trust)
    role = client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]
    client("iam").put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy(Action=list(actions)))
    print(json.dumps({"arn": role["Arn"]}))


def policy(resource="*", **statement):
    if resource:
        statement["Resource"] = resource
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


COMMANDS = {
    "create-stream": create_stream,
    "put": put,
    "read": read,
    "shards": shards,
    "create-user": create_user,
    "create-role": create_role,
    "create-pod-role": create_pod_role,
}

if __name__ == "__main__":
    endpoint, command, *arguments = sys.argv[1:]
    # boto3 checks sizes before it sends; the servers are to judge them.
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    clients = {}

    def client(service):
        if service not in clients:
            clients[service] = boto3.client(service, endpoint_url=endpoint, config=config)
        return clients[service]

    COMMANDS[command](client, *arguments)
