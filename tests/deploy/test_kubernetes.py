"""Kubernetes: schemas of its kinds and of KEDA's, what the pods start, and what policies and scaling say about each other."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from streamer.contracts import TOPICS
from streamer.kafka.rights import GROUPS, ROLES
from streamer.settings import CommonSettings
from streamer.sinks.config import load_sinks
from testkit.deployed import DEPLOY, Started, image_variables, problems

FOLDER = DEPLOY / "kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"
VERSION = "1.34"
WORKERS = ("streamer", "detector", "trainer")
COMPONENTS = ("keda", "s3", "tls", "cuda")
Objects = dict[tuple[str, str], dict[str, Any]]


def _read(text: str) -> Objects:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def _resources() -> list[Path]:
    files = sorted(FOLDER.rglob("*.yaml"))
    return [path for path in files if path.name != "kustomization.yaml"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    """What `kubectl kustomize` makes of the base, of it with each component alone, and of the overlay with all of them."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl: its kustomize puts the files together")
    made = {"base": FOLDER / "base", "production": FOLDER / "overlays" / "production"}
    for name in COMPONENTS:
        made[name] = tmp_path_factory.mktemp(name)
        relative = os.path.relpath(FOLDER.resolve(), made[name].resolve())
        text = f"resources: [{relative}/base]\ncomponents: [{relative}/components/{name}]\n"
        (made[name] / "kustomization.yaml").write_text(text)
    run = {
        name: subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True)
        for name, path in made.items()
    }
    assert {name: each.stderr for name, each in run.items() if each.returncode} == {}
    return {name: _read(each.stdout) for name, each in run.items()}


def _check(objects: Objects) -> None:
    for (kind, _), each in objects.items():
        if each["apiVersion"].startswith("keda.sh/"):
            (version,) = _definition(kind)["spec"]["versions"]
            jsonschema.validate(each, _closed(version["schema"]["openAPIV3Schema"]))
        else:
            kubernetes_validate.validate(each, VERSION, strict=True)


def _definition(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((SCHEMAS / f"keda.sh_{kind.lower()}s.yaml").read_text())
    return found


def _closed(schema: Any, top: bool = True) -> Any:
    """A server drops what a definition does not know; here that is an error, but for what every object has."""
    if isinstance(schema, list):
        return [_closed(each, False) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each, False) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed["properties"] = {name: _closed(each, False) for name, each in schema["properties"].items()}
        if not top:
            closed.setdefault("additionalProperties", False)
    return closed


@pytest.mark.parametrize("path", _resources(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_files_follow_their_schemas(path: Path) -> None:
    _check(_read(path.read_text()))


@pytest.mark.slow(1)
def test_what_is_built_follows_its_schemas(built: dict[str, Objects]) -> None:
    made = [(key, each) for objects in built.values() for key, each in objects.items()]
    different = {json.dumps(each, sort_keys=True): (key, each) for key, each in made}
    for key, each in different.values():  # most are alike in all forms
        _check({key: each})


def test_a_key_that_does_not_exist_is_found() -> None:
    objects = _read((FOLDER / "components" / "keda" / "scaled.yaml").read_text())
    objects["ScaledObject", "streamer"]["spec"]["minReplicas"] = 1
    with pytest.raises(jsonschema.ValidationError):
        _check(objects)


def _pods(objects: Objects) -> dict[str, dict[str, Any]]:
    return {
        name: each["spec"]["template"]["spec"]
        for (kind, name), each in objects.items()
        if kind in ("Deployment", "Job")
    }


@pytest.mark.parametrize("form", ["base", "production", *COMPONENTS])
def test_pods_start_what_there_is(built: dict[str, Objects], form: str, tmp_path: Path) -> None:
    pods = _pods(built[form])
    assert set(pods) == {*WORKERS, "sink", "console", "provision"}
    for name, pod in pods.items():
        (container,) = pod["containers"]
        variables = image_variables(DEPLOY / "docker" / "Dockerfile")
        for source in container["envFrom"]:
            if "configMapRef" in source:
                variables |= built[form]["ConfigMap", source["configMapRef"]["name"]]["data"]
        # A secret's value is not here: any that is long enough for a token.
        variables |= {each["name"]: each.get("value", "x" * 32) for each in container.get("env", [])}
        assert problems(Started(name, container["args"], variables)) == []
        _mounted(pod, container, variables)


def _mounted(pod: dict[str, Any], container: dict[str, Any], variables: dict[str, str]) -> None:
    """Volumes and mounts go together, and every file that a variable names is in one of them."""
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(places) == set(volumes)
    files = {
        f"{places[name]}/{item['path']}"
        for name, volume in volumes.items()
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
    assert {value for name, value in variables.items() if name.endswith("_FILE")} <= files
    store = variables["ANOMALYLLM_STORE"]
    if container["name"] in ("detector", "trainer") and "://" not in store:
        assert store in places.values()


def test_pods_have_no_more_rights_than_they_need(built: dict[str, Objects]) -> None:
    for name, pod in _pods(built["production"]).items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert not pod["automountServiceAccountToken"], name
        assert not pod["enableServiceLinks"], "ANOMALYLLM_CONSOLE_PORT might be a service's"
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_whatever_runs_on_is_probed_and_may_be_evicted_one_by_one(built: dict[str, Objects]) -> None:
    base = built["base"]
    for (kind, name), each in base.items():
        if kind == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            ports = {port["name"] for port in container["ports"]}
            asked = [container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
            assert {probe["port"] for probe in asked} <= ports
            pages = ["/", "/", "/"] if name == "console" else ["/livez", "/livez", "/readyz"]
            assert [probe["path"] for probe in asked] == pages
            budget = base["PodDisruptionBudget", name]["spec"]
            assert budget["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
            assert budget["maxUnavailable"] == 1


def _allowed(objects: Objects, labels: dict[str, str], kind: str) -> set[int]:
    """Ports that some policy lets a pod of these labels reach (`egress`) or be reached on (`ingress`)."""
    found = set()
    for (what, _), each in objects.items():
        if what == "NetworkPolicy" and _chosen(each["spec"]["podSelector"], labels):
            found |= {port["port"] for rule in each["spec"].get(kind, []) for port in rule["ports"]}
    return found


def _chosen(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def test_policies_let_through_what_each_worker_needs_and_no_more(built: dict[str, Objects]) -> None:
    servers, https = {53, 9092, 9093, 6379, 6380}, 443
    for form, store in (("base", set()), ("s3", {https})):
        objects = built[form]
        pods = {
            name: each["spec"]["template"]["metadata"]["labels"]
            for (kind, name), each in objects.items()
            if kind in ("Deployment", "Job")
        }
        egress = {name: _allowed(objects, labels, "egress") for name, labels in pods.items()}
        ingress = {name: _allowed(objects, labels, "ingress") for name, labels in pods.items()}
        assert egress["provision"] == {53, 9092, 9093}
        assert egress["streamer"] == egress["console"] == servers
        assert egress["detector"] == egress["trainer"] == servers | store
        assert egress["sink"] == servers | {https, 587}
        assert {name for name, ports in ingress.items() if ports == {9100}} == {*WORKERS, "sink"}
        assert (ingress["console"], ingress["provision"]) == ({8790}, set())
        assert objects["NetworkPolicy", "nothing-else"]["spec"] == {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
        }


def test_workers_are_scaled_by_the_lag_of_what_they_read(built: dict[str, Objects]) -> None:
    for form, login in (("keda", False), ("production", True)):
        objects = built[form]
        (settings,) = [each["data"] for (kind, name), each in objects.items() if name.startswith("settings-")]
        for role in WORKERS:
            scaled = objects["ScaledObject", role]["spec"]
            (trigger,) = scaled["triggers"]
            assert scaled["scaleTargetRef"]["name"] == role
            assert "replicas" not in objects["Deployment", role]["spec"]
            assert scaled["maxReplicaCount"] == int(settings["ANOMALYLLM_PARTITIONS"])
            assert trigger["metadata"]["consumerGroup"] == GROUPS[role]
            assert trigger["metadata"]["topic"] in ROLES[role].reads
            assert trigger["metadata"]["topic"] in TOPICS
            assert trigger["metadata"]["bootstrapServers"] == settings["ANOMALYLLM_BOOTSTRAP"]
            assert ("authenticationRef" in trigger) == login


def test_logins_are_the_principals_that_rights_are_printed_for(built: dict[str, Objects]) -> None:
    for name, pod in _pods(built["production"]).items():
        (container,) = pod["containers"]
        (user,) = [each["value"] for each in container["env"] if each["name"] == "ANOMALYLLM_KAFKA_USER"]
        role = user.removeprefix("anomalyllm-")
        assert role == {"provision": "operator"}.get(name, name)
        assert role in ROLES


def test_with_s3_there_is_no_volume_left(built: dict[str, Objects]) -> None:
    assert not [key for key in built["s3"] if key[0] == "PersistentVolumeClaim"]
    assert "PersistentVolumeClaim" in {kind for kind, _ in built["base"]}


def test_what_no_cluster_decides_for_itself_is_in_the_base() -> None:
    assert set(load_sinks(FOLDER / "base" / "sinks.toml").sinks) == {"ops"}
    lines = (FOLDER / "base" / "settings.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert names <= {f"ANOMALYLLM_{name.upper()}" for name in CommonSettings.model_fields}
