"""No file of deploy/, and no page about it, names a variable or a command that is not there."""

from pathlib import Path

import pytest

from testkit.deployed import DEPLOY, ROOT, VARIABLE, Started, commands_in, known_variables, problems

# Of setting up a checkout and of its tests, and what stands for any of them.
OTHER = {"ANOMALYLLM_TORCH_INDEX", "ANOMALYLLM_CHROMIUM", "ANOMALYLLM_NAME"}
PAGES = [ROOT / "docs" / "how-to" / name for name in ("deploy.md", "upgrade.md", "secure.md", "console.md", "sinks.md")]


def _texts() -> list[Path]:
    return sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", [*_texts(), *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_variables_are_known(path: Path) -> None:
    found = set(VARIABLE.findall(path.read_text()))
    assert {name for name in found if not name.endswith("_")} <= known_variables() | OTHER


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_of_pages_are_understood(page: Path) -> None:
    found = list(commands_in(page.read_text(), page.name))
    assert found or page.name not in ("deploy.md", "upgrade.md")
    assert [line for started in found for line in problems(started)] == []


def test_what_the_command_does_not_understand_is_told() -> None:
    assert problems(Started("here", ["topics", "provision", "--fix"], {"ANOMALYLLM_PARTITIONS": "8"})) == []
    assert problems(Started("here", ["streamer", "--capacity", "many"]))
    assert problems(Started("here", ["streamer", "--capacities", "64"]))
    assert problems(Started("here", ["stream"]))
    assert problems(Started("here", ["topics", "provide"]))
    assert problems(Started("here", ["streamer"], {"ANOMALYLLM_PARTITIONS": "7"}))
    assert problems(Started("here", ["streamer"], {"ANOMALYLLM_BOOTSTRAPS": "kafka:9092"}))
    assert problems(Started("here", ["streamer"], {"ANOMALYLLM_OPEN_HITS": "2"})), "of the detector"
