"""Cuts CustomResourceDefinitions down to what a manifest uses of them: `prune.py MANIFEST CRD... >>crds/NAME.yaml`.

What a manifest has and the result has not is a mistake, or was not used before: then cut again. The head of the file,
with source and licence, is written by hand.
"""

import sys

import yaml

KEPT = ["type", "enum", "pattern", "minimum", "maximum", "required", "x-kubernetes-int-or-string"]


def pruned(schema, used):
    """The schema, of the properties that any of the values has."""
    kept = {name: schema[name] for name in KEPT if name in schema}
    if "properties" in schema:
        kept["properties"] = {
            name: pruned(inner, given)
            for name, inner in schema["properties"].items()
            if (given := [value[name] for value in used if name in value])
        }
    if "items" in schema:
        kept["items"] = pruned(schema["items"], [item for value in used for item in value])
    return kept


def main():
    with open(sys.argv[1]) as file:
        resources = list(yaml.safe_load_all(file))
    kinds = {}
    for path in sys.argv[2:]:
        with open(path) as file:
            crd = yaml.safe_load(file)["spec"]
        [version] = [version for version in crd["versions"] if version["storage"]]
        kind = crd["names"]["kind"]
        kinds[kind] = {
            "apiVersion": f"{crd['group']}/{version['name']}",
            "scope": crd["scope"],
            "spec": pruned(
                version["schema"]["openAPIV3Schema"]["properties"]["spec"],
                [resource["spec"] for resource in resources if resource["kind"] == kind],
            ),
        }
    yaml.safe_dump(kinds, sys.stdout, sort_keys=False, width=118, default_flow_style=None)


if __name__ == "__main__":
    main()
