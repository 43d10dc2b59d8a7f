"""Manifests for Kubernetes: strictly valid, without secrets, and what each of them decides."""

import shutil
import subprocess
from pathlib import Path

import manifest_schemas
import pytest
import yaml

from deepicd.clusters.description import parse_cluster, read_table
from deepicd.clusters.rendering import render

FOLDER = Path(__file__).parents[3] / "cluster"
NAMES = ("kubernetes", "kubernetes-cpu")
FILES = sorted(
    path
    for name in NAMES
    for path in (FOLDER / name).rglob("*.yaml")
    if path.name != "kustomization.yaml"
)
KINDS = {
    "cluster": "RayCluster",
    "sweep": "RayJob",
    "two-nodes": "RayJob",
    "serve": "RayService",
    "nightly": "RayCronJob",
}


def manifests(name="kubernetes", **changes):
    """Manifest of each overlay's own resource, by overlay."""
    table = {**read_table(FOLDER / f"{name}.yaml"), **changes}
    made = render(parse_cluster(table, source="here"), {"serve": "applications: []\n"})
    return {
        file.split("/")[1]: yaml.safe_load(text)
        for file, text in made.items()
        if file.startswith("overlays") and "kustomization" not in file
    }


def pods(manifest):
    """Head's and workers' pod specifications."""
    spec = manifest["spec"]
    spec = spec.get("jobTemplate", spec)
    spec = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-4:]))
def test_every_manifest_in_the_repository_is_strictly_valid(path):
    assert not manifest_schemas.faults_of(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("queue", ["kueue", "kai", "volcano", "yunikorn"])
def test_every_queue_and_priority_gives_valid_manifests(queue):
    made = manifests(queue={"kind": queue, "name": "team-a", "priority": "high"})
    assert {name: each["kind"] for name, each in made.items()} == KINDS
    assert not [fault for each in made.values() for fault in manifest_schemas.faults_of(each)]
    assert all("team-a" in each["metadata"]["labels"].values() for each in made.values())


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("spec", "backofLimit"), 1, "'backofLimit' was unexpected"),
        (("spec", "backoffLimit"), "1", "is not of type 'integer'"),
        (
            ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "contaners"),
            [],
            "contan",
        ),
        (("spec", "deletionStrategy", "deletionRules", 0, "policy"), "DeleteAll", "is not one of"),
        (("apiVersion",), "ray.io/v1alpha1", "'ray.io/v1' was expected"),
    ],
)
def test_a_manifest_that_an_api_server_would_refuse_is_found(place, value, words):
    part = job = manifests()["sweep"]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    assert any(words in fault for fault in manifest_schemas.faults_of(job))


@pytest.mark.parametrize("name", ["volume-claim", "pod-monitor", "prometheus-rule", "dashboard"])
def test_an_unknown_field_in_the_base_is_found(name):
    manifest = yaml.safe_load((FOLDER / "kubernetes" / "base" / f"{name}.yaml").read_text())
    part = manifest if name == "dashboard" else manifest["spec"]
    part["unknownField"] = 1
    assert any("unknownField" in fault for fault in manifest_schemas.faults_of(manifest))


@pytest.mark.parametrize("name", NAMES)
def test_no_pod_is_root_and_shared_memory_counts_into_its_limit(name):
    for pod in [pod for each in manifests(name).values() for pod in pods(each)]:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        (shm,) = [each["emptyDir"] for each in pod["volumes"] if each["name"] == "shm"]
        limit = container["resources"]["limits"]["memory"]
        assert shm["medium"] == "Memory"
        assert float(shm["sizeLimit"][:-2]) < float(limit[:-2])


def test_the_token_is_a_secret_by_name_and_nothing_holds_one():
    for manifest in manifests().values():
        spec = manifest["spec"].get("jobTemplate", manifest["spec"])
        spec = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
        assert spec["authOptions"] == {"mode": "token", "secretName": "deepicd-token"}
        env = [each for pod in pods(manifest) for each in pod["containers"][0]["env"]]
        assert not [each for each in env if "TOKEN" in each["name"] and "value" in each]


def test_gpus_are_asked_for_on_the_gpu_profile_alone():
    for name, wanted in (("kubernetes", "8"), ("kubernetes-cpu", None)):
        head, worker = pods(manifests(name)["sweep"])
        found = [pod["containers"][0]["resources"]["limits"] for pod in (head, worker)]
        assert found[1].get("nvidia.com/gpu") == wanted and "nvidia.com/gpu" not in found[0]


def test_a_job_that_ended_gives_its_gpus_back_and_one_without_pods_fails():
    job = manifests()["sweep"]["spec"]
    rules = [
        (rule["condition"]["jobStatus"], rule["condition"]["ttlSeconds"], rule["policy"])
        for rule in job["deletionStrategy"]["deletionRules"]
    ]
    assert ("SUCCEEDED", 0, "DeleteWorkers") in rules and ("FAILED", 600, "DeleteWorkers") in rules
    assert "shutdownAfterJobFinishes" not in job
    assert job["preRunningDeadlineSeconds"] == 1800
    queued = manifests(queue={"kind": "kueue", "name": "q"})["sweep"]["spec"]
    assert queued["shutdownAfterJobFinishes"] and "deletionStrategy" not in queued


def test_groups_of_another_size_than_fixed_have_an_autoscaler():
    (worker,) = read_table(FOLDER / "kubernetes.yaml")["workers"]
    assert "enableInTreeAutoscaling" not in manifests()["cluster"]["spec"]
    spec = manifests(workers=[{**worker, "min": 0}])["cluster"]["spec"]
    assert spec["enableInTreeAutoscaling"] and spec["autoscalerOptions"]["version"] == "v2"


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("overlay", KINDS)
def test_kustomize_builds_every_overlay_into_valid_manifests(name, overlay):
    folder = FOLDER / name / "overlays" / overlay
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=True
    )
    built = list(yaml.safe_load_all(done.stdout))
    assert {each["kind"] for each in built} == {
        "PersistentVolumeClaim",
        "PodMonitor",
        "PrometheusRule",
        "ConfigMap",
        KINDS[overlay],
    }
    assert {each["metadata"]["namespace"] for each in built} == {"deepicd"}
    assert not [fault for each in built for fault in manifest_schemas.faults_of(each)]
