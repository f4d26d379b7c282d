"""Pages that are made out of the code are of this code."""

from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.cli import reference, topics_page

PAGES = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "page"), [("cli.md", reference.page), ("topics.md", topics_page.page)], ids=["commands", "topics"]
)
def test_a_page_is_of_this_code(name: str, page: Callable[[], str]) -> None:
    module = page.__module__
    assert page() == (PAGES / name).read_text(), f"python -m {module} > docs/reference/{name}"
