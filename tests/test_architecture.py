"""docs/architecture.md names modules and rooms that exist, all rooms, and few enough stops; modules are as CONTRIBUTING.md says."""

import ast
import re
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = ("streamer", "detector", "trainer")
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
# What others build on: contracts, bank, judge, incidents, store.
EXPLAINED = (
    *(ROOT / "streamer" / f"{name}.py" for name in ("contracts", "metric_records", "record_headers")),
    *(ROOT / "detector" / "model" / f"{name}.py" for name in ("interface", "bank", "banks", "season_bank", "artefact")),
    ROOT / "detector" / "live" / "judge.py",
    *(ROOT / "detector" / "incidents").glob("*.py"),
)
# Of a speaker, where something is sent, received, stored, logged or shown; "turn" is one pass of a worker's loop.
PRIVATE = {
    "told", "tell", "said", "heard", "hear", "hearing", "shelf", "shop", "showing", "book", "leaning", "earning",
}  # fmt: skip


def test_every_module_that_is_named_exists() -> None:
    named = set(re.findall(rf"\b((?:{'|'.join(ROOMS)})(?:\.[a-z_]+)+)", TEXT))
    assert len(named) > 20
    assert [name for name in sorted(named) if find_spec(name) is None] == []


def test_every_room_has_its_line() -> None:
    packages = {
        f"{init.parent.relative_to(ROOT)}/" for room in ROOMS for init in (ROOT / room).glob("*/__init__.py")
    } | {f"{room}/" for room in ROOMS}
    rooms = set(re.findall(r"`([a-z_/]+/)`", TEXT.split("## The way of a record")[0]))
    assert packages - rooms == set()
    assert {room for room in rooms if not (ROOT / room).is_dir() and room != "views/"} == set()


def test_a_record_stops_at_most_twelve_times_and_never_twice_at_a_module() -> None:
    stops = re.findall(r"^\d+\. `([a-z_.]+)`", TEXT, re.MULTILINE)
    assert 6 < len(stops) <= 12
    assert len(set(stops)) == len(stops)


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_what_others_build_on_has_an_example() -> None:
    missing = []
    for path in EXPLAINED:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                exempt = "Protocol" in bases or any(base.endswith("Error") for base in bases)
                if not exempt and ">>>" not in (ast.get_docstring(node) or ""):
                    missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert missing == []


def test_names_are_the_glossary_s() -> None:
    found = []
    for path in MODULES:
        defined = [
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for name in chain([path.stem], defined):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip("_").split("_")
            if PRIVATE & set(words):
                found.append(f"{path.relative_to(ROOT)}: {name}")
    assert found == []
