"""A consumer of a stream: opens aggregates with Amazon's module for Python, inflates with Python's own modules.

    consumer.py deaggregate|gzip|zlib

stdin has the data of a Kinesis record a line, in base64; stdout a JSON line for each.
"""

import base64
import gzip
import json
import sys
import zlib


def deaggregate(data):
    """The user records in an aggregate, in order."""
    from aws_kinesis_agg.deaggregator import deaggregate_records

    about = {"kinesisSchemaVersion": "1.0", "sequenceNumber": "1", "approximateArrivalTimestamp": 0}
    record = {"kinesis": {**about, "partitionKey": "outer", "data": base64.b64encode(data)}}
    return [
        {
            "partition_key": user["partitionKey"],
            "explicit_hash_key": user["explicitHashKey"],
            "data": user["data"].decode(),
        }
        # A record that is no aggregate, or a damaged one, is handed back as it came.
        for user in (user_record["kinesis"] for user_record in deaggregate_records([record]))
        if user.get("aggregated")
    ]


def inflate(module):
    """How `module` inflates; it checks the checksum and that nothing follows."""
    return lambda data: base64.b64encode(module.decompress(data)).decode()


commands = {"deaggregate": deaggregate, "gzip": inflate(gzip), "zlib": inflate(zlib)}
for line in sys.stdin:
    print(json.dumps(commands[sys.argv[1]](base64.b64decode(line))))
