# For a terminal that runs Fluent Bit or a consumer of these examples: . examples/local.sh
# AWS's own variables lead to the stand-in, so the configurations are those for AWS.
export AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4567
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=eu-west-1
# Where Fluent Bit keeps what has to survive it: an empty folder for each terminal.
STATE=$(mktemp -d)
export STATE
