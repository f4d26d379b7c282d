"""docs/architecture.md names modules and rooms that exist, all rooms, and few enough stops."""

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = ("streamer", "detector", "trainer")


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
