// A consumer of a stream: opens aggregates with Amazon's module for Node.
//
//     consumer.js deaggregate
//
// stdin has the data of a Kinesis record a line, in base64; stdout a JSON line for each.

const { deaggregateSync } = require("aws-kinesis-agg");

const lines = require("fs").readFileSync(0, "utf8").split("\n");
for (const data of lines.filter((line) => line !== "")) {
  const record = { partitionKey: "outer", sequenceNumber: "1", data };
  deaggregateSync(record, true, (error, userRecords) => {
    if (error) throw error;
    const answer = userRecords.map((user) => ({
      partition_key: user.partitionKey,
      explicit_hash_key: user.explicitPartitionKey ?? null,
      data: user.data,
    }));
    process.stdout.write(JSON.stringify(answer) + "\n");
  });
}
