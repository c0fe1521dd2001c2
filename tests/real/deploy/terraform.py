"""What deploy/terraform/ says: its syntax, the names that AWS's provider has, and the rights of deploy/iam/."""

import json
import re

# What a resource takes, and what others may read of it. Read 2026-11-28 in
# https://github.com/hashicorp/terraform-provider-aws/tree/main/website/docs/r
ARGUMENTS = {
    "aws_kinesis_stream": """name shard_count retention_period shard_level_metrics enforce_consumer_deletion
        encryption_type kms_key_id stream_mode_details.stream_mode max_record_size_in_kib region tags""",
    "aws_iam_role": """assume_role_policy description force_detach_policies max_session_duration name name_prefix path
        permissions_boundary tags""",
    "aws_iam_role_policy": "name name_prefix policy role",
    "aws_eks_pod_identity_association": """cluster_name namespace role_arn service_account disable_session_tags region
        tags""",
    "aws_caller_identity": "",
}
REQUIRED = {
    "aws_kinesis_stream": {"name"},
    "aws_iam_role": {"assume_role_policy"},
    "aws_iam_role_policy": {"policy", "role"},
    "aws_eks_pod_identity_association": {"cluster_name", "namespace", "role_arn", "service_account"},
}
ATTRIBUTES = {
    "aws_kinesis_stream": {"arn", "id", "name"},
    "aws_iam_role": {"arn", "id", "name", "unique_id"},
    "aws_caller_identity": {"account_id", "arn", "user_id"},
}

# What stands in deploy/iam/ for what Terraform knows.
ACCOUNT = "${data.aws_caller_identity.current.account_id}"
STREAM = "${aws_kinesis_stream.logs.arn}"


def terraform(path):
    with open(path) as file:
        parsed = read(file.read())
    blocks = [(kind, *block) for kind in ["resource", "data"] for block in named(parsed.get(kind, []))]
    mistakes = list(dangling(parsed, blocks))
    for kind, type_, name, body in blocks:
        given = set(flat(body))
        known = set(ARGUMENTS.get(type_, "").split())
        where = f"{kind} {type_}.{name}"
        mistakes += [f"{where} has no argument {argument}" for argument in sorted(given - known)]
        mistakes += [f"{where} needs {argument}" for argument in sorted(REQUIRED.get(type_, set()) - given)]
    return mistakes or differences({(type_, name): body for _, type_, name, body in blocks})


def read(text):
    import hcl2

    options = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    return hcl2.loads(text, serialization_options=options)


def named(blocks):
    """Type, name and content of each block of a kind."""
    return [(type_, name, body) for block in blocks for type_, of in block.items() for name, body in of.items()]


def flat(body):
    """The names of the arguments, with those of a nested block as block.argument."""
    for name, value in body.items():
        nested = value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else None
        yield from (f"{name}.{inner}" for item in nested for inner in item) if nested else [name]


def dangling(parsed, blocks):
    """References to nothing."""
    text = json.dumps(parsed)
    for is_data, type_, name, attribute in re.findall(r"\b(data\.)?(aws_\w+)\.(\w+)\.(\w+)", text):
        known = any(
            block[:3] == ("data" if is_data else "resource", type_, name) for block in blocks
        ) and attribute in ATTRIBUTES.get(type_, set())
        if not known:
            yield f"nothing is {is_data}{type_}.{name}.{attribute}"
    variables = {name for block in parsed.get("variable", []) for name in block}
    yield from (f"nothing is var.{name}" for name in set(re.findall(r"\bvar\.(\w+)", text)) - variables)


def differences(blocks):
    """Where it gives other rights, or to others, than deploy/iam/ and deploy/kubernetes/ do."""
    role = blocks["aws_iam_role", "fluent_bit"]
    association = blocks["aws_eks_pod_identity_association", "fluent_bit"]
    wanted = load("deploy/kubernetes/pod-identity-association.json")
    for what, given, expected in [
        ("policy", encoded(blocks["aws_iam_role_policy", "put_records"]["policy"]), "deploy/iam/put-records.json"),
        ("assume_role_policy", encoded(role["assume_role_policy"]), "deploy/iam/trust-pod-identity.json"),
        ("namespace", association["namespace"], wanted["namespace"]),
        ("service_account", association["service_account"], wanted["serviceAccount"]),
        ("role", f"arn:aws:iam::111122223333:role/{role['name']}", wanted["roleArn"]),
        ("stream_mode", blocks["aws_kinesis_stream", "logs"]["stream_mode_details"][0]["stream_mode"], "ON_DEMAND"),
    ]:
        if given != (load(expected) if expected.endswith(".json") else expected):
            yield f"{what} is {given}, not as {expected}"


def encoded(expression):
    """The value in a call of jsonencode, with what Terraform looks up as in deploy/iam/."""
    value = re.fullmatch(r"\$\{jsonencode\((.*)\)\}", expression, re.DOTALL)[1]
    text = json.dumps(read(f"value = {value}\n")["value"])
    text = text.replace(ACCOUNT, "111122223333").replace(STREAM, "arn:aws:kinesis:eu-west-1:111122223333:stream/logs")
    return json.loads(text)


def load(path):
    with open(path) as file:
        return json.load(file)
