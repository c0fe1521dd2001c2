"""Reads files of deploy/ as those do that they are for: `check.py kubernetes|helm|aws|iam FILE...`.

Prints what is wrong, one mistake a line, and fails when there is one.
"""

import json
import sys

import yaml

# The oldest Kubernetes that AWS still ran when this was written, and the newest whose schemas the package has.
KUBERNETES = ["1.28", "1.31", "1.34", "1.37"]


def kubernetes(path):
    with open(path) as file:
        for resource in yaml.safe_load_all(file):
            yield from resource_mistakes(resource)


def resource_mistakes(resource):
    import kubernetes_validate

    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            where = ".".join(map(str, getattr(error, "path", [])))
            yield f"{resource['kind']} in Kubernetes {version}: {where}: {error.message}"


# The values of the chart fluent-bit 0.58.1 that may be set, and below those that are no free form.
# https://github.com/fluent/helm-charts/blob/main/charts/fluent-bit/values.yaml, read 2026-11-22
CHART = {
    **dict.fromkeys(
        """affinity annotations args autoscaling command daemonSetVolumeMounts daemonSetVolumes dashboards dnsConfig
        dnsPolicy env envFrom envWithTpl existingConfigMap extraContainers extraPorts extraVolumeMounts extraVolumes
        flush fullnameOverride hostAliases hostNetwork hotReload imagePullSecrets ingress initContainers kind labels
        lifecycle livenessProbe logLevel luaScripts metricsPort minReadySeconds nameOverride networkPolicy nodeSelector
        openShift podAnnotations podDisruptionBudget podLabels podSecurityContext podSecurityPolicy priorityClassName
        prometheusRule readinessProbe replicaCount resources securityContext service serviceMonitor
        terminationGracePeriodSeconds testFramework tolerations updateStrategy volumeMounts""".split()
    ),
    "config": {"service", "inputs", "filters", "outputs", "upstream", "customParsers", "extraFiles"},
    "image": {"repository", "tag", "digest", "pullPolicy"},
    "rbac": {"create", "nodeAccess", "eventsAccess"},
    "serviceAccount": {"create", "annotations", "name", "automountServiceAccountToken"},
}


def helm(path):
    with open(path) as file:
        values = yaml.safe_load(file)
    unknown = [name for name in values if name not in CHART]
    for name in values.keys() & {name for name, keys in CHART.items() if keys}:
        unknown += [f"{name}.{key}" for key in values[name] if key not in CHART[name]]
    if unknown:
        return [f"the chart has no value {name}" for name in unknown]
    return resource_mistakes(daemon_set(values))


def daemon_set(values):
    """The DaemonSet that the chart's templates make of the values, in the parts that are set there."""
    container = {
        "name": "fluent-bit",
        "image": f"{values['image']['repository']}:{values['image']['tag']}",
        "volumeMounts": [{"name": "config", "mountPath": "/fluent-bit/etc/conf"}] + values["extraVolumeMounts"],
    }
    for name in ["args", "securityContext", "resources", "livenessProbe", "readinessProbe"]:
        container[name] = values[name]
    pod = {
        "containers": [container],
        "serviceAccountName": values["serviceAccount"]["name"],
        "volumes": [{"name": "config", "configMap": {"name": "fluent-bit"}}] + values["extraVolumes"],
    }
    for name in [
        "initContainers",
        "nodeSelector",
        "priorityClassName",
        "terminationGracePeriodSeconds",
        "tolerations",
    ]:
        pod[name] = values[name]
    labels = {"app.kubernetes.io/name": "fluent-bit"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "fluent-bit"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


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


def wrong_values(value, shape, where):
    """Values that are none of those that the service lists, which botocore leaves to the service to refuse."""
    if shape.type_name == "structure":
        for name, member in value.items():
            if name in shape.members:
                yield from wrong_values(member, shape.members[name], f"{where}.{name}")
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
    check = {"kubernetes": kubernetes, "helm": helm, "aws": aws, "iam": iam}[sys.argv[1]]
    mistakes = [f"{path}: {mistake}" for path in sys.argv[2:] for mistake in check(path)]
    print("\n".join(mistakes))
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
