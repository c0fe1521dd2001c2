"""Reads files of deploy/ as those do that they are for: `check.py CHECK FILE...`, with the checks listed in `main`.

Prints what is wrong, one mistake a line, and fails when there is one.
"""

import json
import re
import sys

import charts
import manifests
from terraform import terraform

# Files that are the input of an operation of AWS's, by their names.
OPERATIONS = {
    "task-definition.json": ("ecs", "RegisterTaskDefinition"),
    "pod-identity-association.json": ("eks", "CreatePodIdentityAssociation"),
}


def aws(path):
    import botocore.session
    import botocore.validate

    service, operation = OPERATIONS[path.rsplit("/", 1)[-1]]
    with open(path) as file:
        given = json.load(file)
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    # AWS's own command makes this one up.
    shape.required_members[:] = [name for name in shape.required_members if name != "clientRequestToken"]
    yield from filter(None, botocore.validate.ParamValidator().validate(given, shape).generate_report().splitlines())
    yield from wrong_values(given, shape, operation)
    for platform in platforms() if operation == "RegisterTaskDefinition" else []:
        yield from wrong_values({"runtimePlatform": platform}, shape, operation)


def platforms():
    """The platforms that the guide puts in the place of the file's, as AWS's command takes them."""
    with open("docs/guides/ecs.md") as file:
        found = re.findall(r"--runtime-platform\s+([\w=,]+)", file.read())
    return [dict(field.split("=") for field in platform.split(",")) for platform in found] or [{"": "none is there"}]


def wrong_values(value, shape, where):
    """Values that are none of those that the service lists, which botocore leaves to the service to refuse."""
    if shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                yield from wrong_values(member, shape.members[name], f"{where}.{name}")
            else:
                yield f"{where} has no {name}"
    elif shape.type_name == "list":
        for member in value:
            yield from wrong_values(member, shape.member, where)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{where}: {value} is none of {', '.join(shape.enum)}"


def is_about_trust(finding):
    """What parliament says of every policy that tells who may assume a role: its resource is the role it stands in, and
    an EKS cluster is an identity provider of the user's own."""
    names_cluster = "oidc.eks." in str(finding.detail)
    return finding.issue == "RESOURCE_STAR" or (finding.issue.startswith("UNKNOWN_") and names_cluster)


def iam(path):
    import parliament

    with open(path) as file:
        policy = json.load(file)
    trust = any("Principal" in statement for statement in policy["Statement"])
    for statement in policy["Statement"] if trust else []:
        # Parliament takes a policy with a principal for that of a bucket, which names its resource.
        statement["Resource"] = "*"
    for finding in parliament.analyze_policy_string(json.dumps(policy), path).findings:
        if not (trust and is_about_trust(finding)):
            yield f"{finding.issue}: {finding.detail}"
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if any("*" in action for action in actions) or (statement["Resource"] == "*" and not trust):
            yield f"more than the plugin needs: {statement}"


def main():
    check = {
        "kubernetes": manifests.kubernetes,
        "kustomized": manifests.kustomized,
        "alerts": manifests.alerts,
        "patch": manifests.patch,
        "fluent-bit": charts.fluent_bit,
        "image-volume": charts.image_volume,
        "aws-for-fluent-bit": charts.aws_for_fluent_bit,
        "aws": aws,
        "iam": iam,
        "terraform": terraform,
    }[sys.argv[1]]
    mistakes = [f"{path}: {mistake}" for path in sys.argv[2:] for mistake in check(path)]
    print("\n".join(mistakes))
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
