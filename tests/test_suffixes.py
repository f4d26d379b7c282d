"""Names that end in a shape (`x_RL`) are explained in their module: every letter, at most six, each with one meaning."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("streamer", "detector", "trainer", "bench", "testkit")
MOST = 6
_SUFFIX = re.compile(r"_([A-Z0-9]*[A-Z][A-Z0-9]*)$")
_LEGEND = re.compile(r"\bShapes: (.+?)(?:\n\s*\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"(?:and )?([A-Z])(?: =)? (?=\S)")


def _modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


def _used(tree: ast.Module) -> dict[str, str]:
    """Letter → a name that has it. Constants are in capitals altogether and have no shape."""
    found: dict[str, str] = {}
    for name in _names(tree):
        suffix = _SUFFIX.search(name)
        if suffix and name != name.upper():
            found |= {letter: name for letter in suffix[1] if letter.isalpha()}
    return found


def _declared(docstring: str) -> list[str]:
    """Letters of the legend: what follows "Shapes:", by commas outside of parentheses."""
    legend = _LEGEND.search(docstring)
    if legend is None:
        return []
    parts = re.split(r",\s+", re.sub(r"\([^()]*\)", "", legend[1]))
    return [entry[1] for entry in map(_ENTRY.match, parts) if entry]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_letter_of_a_shape_is_explained(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used, declared = _used(tree), _declared(ast.get_docstring(tree) or "")
    assert {name for letter, name in used.items() if letter not in declared} == set()
    assert len(declared) == len(set(declared)), "a letter has two meanings"
    assert len(declared) <= MOST
    assert set(declared) <= set(used), "a letter that no name has"


def test_a_legend_is_read_as_it_is_written() -> None:
    text = "About.\n\nShapes: R rows (stream, channel), L slots,\nT = 24 points, F = 2T + 1 features, and S streams\n\nMore, B no."
    assert _declared(text) == ["R", "L", "T", "F", "S"]
    tree = ast.parse("LIMIT_MAX = 1\nx_RL = f(y_R1=a.b_SCK)\ndef f(z_2T): ...")
    assert set(_used(tree)) == set("RLSCKT")
