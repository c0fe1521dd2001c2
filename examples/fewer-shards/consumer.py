"""Reads what a stream holds, and opens what the output kinesis writes: aggregates of the KPL, gzip, lines.

    consumer.py STREAM >events.jsonl

Endpoint, region and credentials come from the environment. A service of yours would use the Kinesis Client Library,
which shares the shards among its workers and remembers its place in each; `events` is what it does to a record.
"""

import base64
import gzip
import sys

import boto3
from aws_kinesis_agg.deaggregator import deaggregate_records


def events(record):
    """The events in a Kinesis record, in order."""
    for data in user_records(record):
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        yield from data.splitlines()


def user_records(record):
    """What is in an aggregate, or the data itself. Amazon's module takes records as Lambda gets them."""
    as_in_lambda = {
        "partitionKey": record["PartitionKey"],
        "sequenceNumber": record["SequenceNumber"],
        "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
        "data": base64.b64encode(record["Data"]),
        "kinesisSchemaVersion": "1.0",
    }
    for user_record in deaggregate_records([{"kinesis": as_in_lambda}]):
        yield base64.b64decode(user_record["kinesis"]["data"])


def records(kinesis, stream):
    """Each Kinesis record of each shard, from the oldest to the newest of now."""
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    for shard in (shard for page in pages for shard in page["Shards"]):
        start = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**start)["ShardIterator"]
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            yield from answer["Records"]
            # An answer may be empty long before the end.
            is_behind = answer["Records"] or answer.get("MillisBehindLatest")
            iterator = answer.get("NextShardIterator") if is_behind else None


if __name__ == "__main__":
    sizes, count = [], 0
    for record in records(boto3.client("kinesis"), sys.argv[1]):
        sizes.append(len(record["Data"]))
        for event in events(record):
            count += 1
            print(event.decode())
    print(f"{count} events in {len(sizes)} Kinesis records of {sum(sizes)} bytes", file=sys.stderr)
