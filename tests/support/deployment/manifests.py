"""The Kubernetes manifests of deploy/, and what the API server asks of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import kubernetes_validate
import yaml
from celpy.adapter import json_to_cel

KUBERNETES = "1.33"
CRDS = Path("tests/data/kuberay-1.7.0")


def documents(path: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(Path(path).read_text()) if each]


def nightly_manifest() -> dict[str, Any]:
    (config_map,) = (
        each for each in documents("deploy/nightly.yaml") if each["kind"] == "ConfigMap"
    )
    data: dict[str, Any] = yaml.safe_load(config_map["data"]["rayjob.yaml"])
    return data


def specs() -> dict[str, dict[str, Any]]:
    return {
        "once": documents("deploy/rayjob.yaml")[0]["spec"],
        "nightly": nightly_manifest()["spec"],
        "raycronjob": documents("deploy/nightly-raycronjob.yaml")[0]["spec"]["jobTemplate"],
    }


def pods() -> dict[str, dict[str, Any]]:
    """Head and worker groups of a RayJob, by name; all manifests have the same."""
    spec = specs()["once"]["rayClusterSpec"]
    return {
        "head": spec["headGroupSpec"],
        **{each["groupName"]: each for each in spec["workerGroupSpecs"]},
    }


def schema(kind: str) -> dict[str, Any]:
    """A definition as the API server applies it: fields that it does not know are refused."""
    data: dict[str, Any] = json.loads(
        gzip.decompress((CRDS / f"{kind.lower()}.schema.json.gz").read_bytes())
    )
    data["properties"]["metadata"]["x-kubernetes-preserve-unknown-fields"] = True
    return closed(data)


def closed(node: Any) -> Any:
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    result = {key: closed(value) for key, value in node.items()}
    known = isinstance(node.get("properties"), dict) and node.get("type") == "object"
    if known and not node.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


def check(document: dict[str, Any]) -> None:
    if document["apiVersion"].startswith("ray.io/"):
        jsonschema.Draft7Validator(schema(document["kind"])).validate(document)
        assert not list(broken_rules(schema(document["kind"]), document))
        assert {"name", "generateName"} & set(document["metadata"])
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def broken_rules(node: dict[str, Any], value: Any) -> Iterator[str]:
    """Messages of the rules in CEL that a new object breaks; the API server evaluates them.

    Rules about a change (`oldSelf`) do not concern a new object.
    """
    for rule in node.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            environment = celpy.Environment()
            program = environment.program(environment.compile(rule["rule"]))
            if not program.evaluate({"self": json_to_cel(value)}):
                yield rule["message"]
    if isinstance(value, list):
        for each in value:
            yield from broken_rules(node.get("items", {}), each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from broken_rules(node.get("properties", {}).get(name, {}), each)
