"""Compose: the specification's schema, what its services start, and the files beside it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streamer.sinks.config import load_sinks
from testkit.deployed import DEPLOY, Started, dockerfile, image_variables, problems

FOLDER = DEPLOY / "compose"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("anomalyllm-")}


@pytest.mark.parametrize("file", ["compose.yaml", "gpu.yaml"])
def test_it_follows_the_specification(file: str) -> None:
    made = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    assert [error.message for error in made.iter_errors(yaml.safe_load((FOLDER / file).read_text()))] == []


def test_services_start_what_there_is() -> None:
    image = image_variables(DEPLOY / "docker" / "Dockerfile")
    assert set(OURS) == {"provision", "streamer", "detector", "trainer", "sink", "console"}
    for name, service in OURS.items():
        variables = {key: _filled(value) for key, value in service["environment"].items()}
        assert problems(Started(name, service["command"], image | variables)) == []


def test_images_are_those_of_the_dockerfile() -> None:
    stages = {each.stage for each in dockerfile(DEPLOY / "docker" / "Dockerfile")}
    gpu = yaml.safe_load((FOLDER / "gpu.yaml").read_text())["services"]
    for service in [*OURS.values(), *gpu.values()]:
        image = service["image"].partition(":")[0].removeprefix("anomalyllm-")
        assert image in stages
        assert service.get("build", {"target": image})["target"] == image
    built = {service["image"] for service in OURS.values() if "build" in service}
    assert {service["image"] for service in OURS.values()} <= built


def test_torch_is_where_it_is_needed() -> None:
    assert {name for name, service in OURS.items() if "-cpu:" in service["image"]} == {"detector", "trainer"}


def test_the_broker_is_the_one_that_is_tested() -> None:
    pom = (DEPLOY / "kafka" / "pom.xml").read_text()
    tested = re.findall(r"<artifactId>kafka.*</artifactId>\n\s*<version>(\d+\.\d+\.\d+)</version>", pom)
    assert {SERVICES["kafka"]["image"]} == {f"apache/kafka:{version}" for version in tested}


def test_files_and_services_that_are_named_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        assert set(service.get("depends_on", [])) <= set(SERVICES)
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    (job,) = prometheus["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == set(OURS) - {"provision", "console"}
    assert f":{found['port']}" == ":" + image_variables(DEPLOY / "docker" / "Dockerfile")["ANOMALYLLM_METRICS_PORT"]
    mounted = {v.split(":")[1] for v in SERVICES["prometheus"]["volumes"]}
    assert set(prometheus["rule_files"]) <= mounted
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    assert f"{provider['options']['path']}/anomalyllm.json" in {v.split(":")[1] for v in SERVICES["grafana"]["volumes"]}


def test_servers_are_reached_by_the_names_and_ports_that_they_have() -> None:
    advertised = dict(
        part.split("://") for part in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    for service in OURS.values():
        assert service["environment"]["ANOMALYLLM_BOOTSTRAP"] == advertised["INSIDE"]
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{advertised['OUTSIDE'].partition(':')[2]}:9094"]


def test_nothing_is_published_beyond_this_host() -> None:
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service.get("ports", []))


def test_the_sinks_that_come_with_it_can_be_read() -> None:
    assert set(load_sinks(FOLDER / "sinks.toml").sinks) == {"ops"}


def _filled(value: str) -> str:
    """As Compose fills a variable that is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
