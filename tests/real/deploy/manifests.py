"""Resources of Kubernetes and of its operators, by the schemas of those that read them."""

import base64
import copy
import glob
import json
import os
import re
import subprocess
import sys

import yaml

# The oldest Kubernetes that AWS still ran when this was written, and the newest whose schemas the package has.
VERSIONS = ["1.28", "1.31", "1.34", "1.37"]
# Since when an image may be a volume without a feature gate.
# https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/, read 2026-11-28
WITH_IMAGE_VOLUMES = ["1.35", "1.37"]
# What the operator of Prometheus takes alerts as.
RULE = "PrometheusRule"
# Those that a server in Kinesis's place takes.
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}


def kubernetes(path):
    for resource in load_all(path):
        if resource["kind"] == "Kustomization":
            # `kustomized` reads it, by one that builds on it.
            continue
        definition = custom_resources().get(resource["kind"])
        yield from resource_mistakes(resource) if definition is None else custom_mistakes(resource, definition)


def resource_mistakes(resource, versions=VERSIONS):
    import kubernetes_validate

    for version in versions:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            where = ".".join(map(str, getattr(error, "path", [])))
            yield f"{resource['kind']} in Kubernetes {version}: {where}: {error.message}"


def custom_resources():
    """The resources of operators by their kinds, cut by prune.py."""
    files = glob.glob(os.path.join(os.path.dirname(__file__), "crds", "*.yaml"))
    return {kind: definition for path in files for [kinds] in [load_all(path)] for kind, definition in kinds.items()}


def custom_mistakes(resource, definition):
    import jsonschema

    what = resource["kind"]
    if resource["apiVersion"] != definition["apiVersion"]:
        yield f"{what} is of {definition['apiVersion']}, not of {resource['apiVersion']}"
    if ("namespace" in resource["metadata"]) != (definition["scope"] == "Namespaced"):
        yield f"{what} is {definition['scope']}"
    for mistake in jsonschema.Draft7Validator(closed(definition["spec"])).iter_errors(resource["spec"]):
        yield f"{what}: {'.'.join(map(str, mistake.path))}: {mistake.message}"
    # apis/fluentbit/v1alpha2/plugins/custom/custom_plugin_types.go of fluent-operator 3.10.0
    for line in resource["spec"].get("customPlugin", {}).get("config", "").splitlines():
        if line.strip().startswith(("[", "@")):
            yield f"{what}: fluent-operator refuses the line {line}"


def closed(schema):
    """The schema, with no properties but those it lists."""
    schema = copy.deepcopy(schema)
    if "properties" in schema:
        schema["additionalProperties"] = False
        schema["properties"] = {name: closed(inner) for name, inner in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = closed(schema["items"])
    return schema


def alerts(path):
    """What the commands of a guide apply for Prometheus is what its operator takes, and has the alerts."""
    with open(path) as file:
        [commands] = [block for block in re.findall(r"^```sh\n(.*?)^```$", file.read(), re.M | re.S) if RULE in block]
    typed = 'kubectl() { [ "$1 $2" = "apply -f" ] && echo --- && cat "$3"; }\n' + commands
    made = subprocess.run(["sh", "-euc", typed], capture_output=True, text=True)
    if made.returncode != 0:
        yield made.stderr
        return
    resources = {resource["kind"]: resource for resource in yaml.safe_load_all(made.stdout) if resource}
    if sorted(resources) != ["PodMonitor", RULE]:
        yield f"the commands apply {sorted(resources)}"
        return
    for kind, resource in resources.items():
        yield from custom_mistakes(resource, custom_resources()[kind])
    [rules] = load_all("deploy/prometheus/kinesis.rules.yaml")
    if resources[RULE]["spec"] != rules:
        yield "other alerts than those of deploy/prometheus/kinesis.rules.yaml"
    if len({resource["metadata"].get("namespace") for resource in resources.values()}) != 1:
        yield "the alerts are in another namespace"


def patch(path):
    """The DaemonSet with a patch in JSON (RFC 6902), of which these files use three operations."""
    [resource] = [one for one in load_all("deploy/kubernetes/fluent-bit.yaml") if one["kind"] == "DaemonSet"]
    with open(path) as file:
        operations = json.load(file)
    for operation in operations:
        *parents, last = operation["path"].lstrip("/").split("/")
        inside = resource
        for name in parents:
            inside = inside[int(name) if isinstance(inside, list) else name]
        last = int(last) if isinstance(inside, list) else last
        if operation["op"] == "remove":
            del inside[last]
        elif operation["op"] == "replace":
            inside[last] = operation["value"]
        elif operation["op"] != "test" or inside[last] != operation["value"]:
            yield f"{operation} does not hold"
    yield from resource_mistakes(resource, WITH_IMAGE_VOLUMES)


def kustomized(path):
    """What `kubectl apply -k` applies of a folder is valid, and agrees with itself."""
    kubectl = os.path.join(os.path.dirname(sys.executable), "kubectl")
    made = subprocess.run([kubectl, "kustomize", os.path.dirname(path)], capture_output=True, text=True)
    if made.returncode != 0:
        yield made.stderr
        return
    resources = list(yaml.safe_load_all(made.stdout))
    mistakes = [mistake for resource in resources for mistake in resource_mistakes(resource)]
    with open(os.path.join(os.path.dirname(path), "README.md")) as file:
        yield from mistakes or disagreements(resources, file.read())


def disagreements(resources, readme):
    """Where resources name others that are not there, or the README another image."""
    made = {(resource["kind"], resource["metadata"]["name"]): resource for resource in resources}
    pod = made["DaemonSet", "fluent-bit"]["spec"]["template"]["spec"]
    [keys] = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"]]
    config = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    named = [("Secret", keys), ("ServiceAccount", pod["serviceAccountName"]), *(("ConfigMap", name) for name in config)]
    yield from (f"there is no {kind} {name}" for kind, name in named if (kind, name) not in made)
    secret = {name: base64.b64decode(value).decode() for name, value in made["Secret", keys]["data"].items()}
    [port] = made["Service", "kinesis"]["spec"]["ports"]
    endpoint = f"http://kinesis:{port['port']}"
    if secret != {**KEYS, "AWS_ENDPOINT_URL_KINESIS": endpoint}:
        yield f"the secret is {secret}, without keys, or not for {endpoint}"
    image = pod["initContainers"][0]["image"]
    for command in f"docker build .* -t {image} .", f"kind load docker-image {image}", f"minikube image load {image}":
        if not re.search(f"^{command}$", readme, re.MULTILINE):
            yield f"README.md does not say: {command}"


def load_all(path):
    with open(path) as file:
        return list(yaml.safe_load_all(file))
