"""Values of Helm charts: names that the chart has, and what it makes of them."""

import yaml

from manifests import VERSIONS, WITH_IMAGE_VOLUMES, resource_mistakes

# The values of the chart fluent-bit 0.58.1 that may be set, and below those that are no free form.
# https://github.com/fluent/helm-charts/blob/main/charts/fluent-bit/values.yaml, read 2026-11-22
FLUENT_BIT = {
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

# Those of the chart aws-for-fluent-bit 0.2.0, without the outputs that are none of ours.
# https://github.com/aws/eks-charts/tree/master/stable/aws-for-fluent-bit (commit 2942cdce, 2026-02-03)
AWS_FOR_FLUENT_BIT = {
    **dict.fromkeys(
        """additionalFilters additionalInputs additionalOutputs affinity annotations containerSecurityContext dnsPolicy
        env fullnameOverride hostNetwork imagePullSecrets livenessProbe nameOverride nodeSelector podSecurityContext
        priorityClassName readinessProbe resources tolerations updateStrategy volumeMounts volumes""".split()
    ),
    "cloudWatchLogs": {"enabled"},
    "filter": set(
        """enabled match kubeURL mergeLog mergeLogKey keepLog k8sLoggingParser k8sLoggingExclude bufferSize
        extraFilters""".split()
    ),
    "image": {"repository", "tag", "pullPolicy"},
    "input": set(
        """enabled tag path db parser dockerMode multilineParser memBufLimit skipLongLines refreshInterval
        extraInputs""".split()
    ),
    "kinesis": set(
        """enabled match region stream partitionKey appendNewline replaceDots dataKeys roleArn endpoint stsEndpoint
        timeKey timeKeyFormat compression aggregation experimental extraOutputs""".split()
    ),
    "service": {"extraService", "parsersFiles", "extraParsers"},
    "serviceAccount": {"create", "annotations", "name"},
}


def fluent_bit(path):
    return chart_mistakes(load(path), FLUENT_BIT, fluent_bit_daemon_set)


def image_volume(path):
    values = {**load("deploy/helm/values.yaml"), **load(path)}
    return chart_mistakes(values, FLUENT_BIT, fluent_bit_daemon_set, WITH_IMAGE_VOLUMES)


def aws_for_fluent_bit(path):
    return chart_mistakes(load(path), AWS_FOR_FLUENT_BIT, aws_daemon_set)


def chart_mistakes(values, chart, daemon_set, versions=VERSIONS):
    unknown = [name for name in values if name not in chart]
    for name in values.keys() & {name for name, keys in chart.items() if keys}:
        unknown += [f"{name}.{key}" for key in values[name] if key not in chart[name]]
    if unknown:
        return [f"the chart has no value {name}" for name in unknown]
    return resource_mistakes(daemon_set(values), versions)


def fluent_bit_daemon_set(values):
    """The DaemonSet that the chart's templates make of the values, in the parts that are set there."""
    container = {
        "volumeMounts": [{"name": "config", "mountPath": "/fluent-bit/etc/conf"}] + values["extraVolumeMounts"],
        **{name: values[name] for name in ["args", "securityContext"]},
    }
    pod = {
        "volumes": [{"name": "config", "configMap": {"name": "fluent-bit"}}] + values["extraVolumes"],
        **{name: values[name] for name in ["initContainers", "terminationGracePeriodSeconds"]},
    }
    return daemon_set(values, container, pod)


def aws_daemon_set(values):
    container = {
        "volumeMounts": [{"name": "fluentbit-config", "mountPath": "/fluent-bit/etc/"}] + values["volumeMounts"],
        "securityContext": values["containerSecurityContext"],
    }
    config = {"name": "fluentbit-config", "configMap": {"name": "aws-for-fluent-bit"}}
    return daemon_set(values, container, {"volumes": [config] + values["volumes"]})


def daemon_set(values, container, pod):
    """What both charts take alike, with the parts that they take differently."""
    image = f"{values['image']['repository']}:{values['image']['tag']}"
    container = {"name": "fluent-bit", "image": image, **container}
    container.update({name: values[name] for name in ["resources", "livenessProbe", "readinessProbe"]})
    pod = {"containers": [container], "serviceAccountName": values["serviceAccount"]["name"], **pod}
    pod.update({name: values[name] for name in ["nodeSelector", "priorityClassName", "tolerations"]})
    labels = {"app.kubernetes.io/name": "fluent-bit"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "fluent-bit"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def load(path):
    with open(path) as file:
        return yaml.safe_load(file)
