"""Rules that Kubernetes itself applies to the manifests, and what their pods may do."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment.manifests import broken_rules, documents, pods, schema, specs

MULTIKUEUE = "kueue.x-k8s.io/multikueue"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"managedBy": "someone"}, "managedBy field value must be"),
        ({"managedBy": MULTIKUEUE}, None),
        ({"deletionStrategy": {}}, "requires either BOTH"),
        ({"deletionStrategy": {"deletionRules": [{"condition": {}}]}}, "requires either the Job"),
    ],
)
def test_the_rules_of_the_definitions_are_evaluated(
    change: dict[str, Any], message: str | None
) -> None:
    document = documents("deploy/rayjob.yaml")[0]
    document["spec"] |= change
    broken = list(broken_rules(schema("RayJob"), document))
    assert len(broken) == (message is not None)
    assert message is None or message in broken[0]


def templates() -> Iterator[dict[str, Any]]:
    """All pods that the manifests make, the operator's submitter among them."""
    yield from (group["template"] for group in pods().values())
    yield from (spec["submitterPodTemplate"] for spec in specs().values())
    (cron,) = (each for each in documents("deploy/nightly.yaml") if each["kind"] == "CronJob")
    yield cron["spec"]["jobTemplate"]["spec"]["template"]


def test_pods_are_confined() -> None:
    """By the standard `restricted` of Kubernetes, and nothing of the image can be changed."""
    for template in templates():
        pod = template["spec"]
        assert pod["securityContext"].items() >= {
            "runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"},
        }.items()  # fmt: skip
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    for spec in specs().values():
        # KubeRay's autoscaler; where it writes, beside /tmp/ray, is not known.
        assert spec["rayClusterSpec"]["autoscalerOptions"]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_ray_can_write_where_it_must() -> None:
    every = [group["template"] for group in pods().values()]
    every += [spec["submitterPodTemplate"] for spec in specs().values()]
    for template in every:
        (container,) = template["spec"]["containers"]
        places = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert places.items() >= {"tmp": "/tmp", "home": "/home/ray"}.items()
        assert places.keys() == {each["name"] for each in template["spec"]["volumes"]}


def test_only_pods_of_a_job_reach_rays_ports() -> None:
    (policy,) = documents("deploy/network-policy.yaml")
    labels = policy["spec"]["podSelector"]["matchLabels"]
    every = [group["template"] for group in pods().values()]
    every += [spec["submitterPodTemplate"] for spec in specs().values()]
    assert all(template["metadata"]["labels"].items() >= labels.items() for template in every)
    among, *others = policy["spec"]["ingress"]
    assert among == {"from": [{"podSelector": {"matchLabels": labels}}]}
    head = pods()["head"]["template"]["spec"]["containers"][0]["ports"]
    ports = {each["name"]: each["containerPort"] for each in head}
    opened = [port["port"] for rule in others for port in rule["ports"]]
    assert opened == [ports["dashboard"], ports["metrics"]]
