"""The site builds without a warning (links and anchors hold), shows what was meant, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself. Links that a person may follow are no concern of this.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
KEPT_AT_HOME = ("stylesheet", "preload", "icon", "preconnect")
# A list or a table that does not begin after an empty line is text to Python-Markdown, unlike GitHub.
UNRENDERED = re.compile(r"<p>(?:(?!</p>).)*?\n( *(?:[-*] |\| |\d+\. |```)[^\n]*)", re.DOTALL)


class Fetched(HTMLParser):
    """Addresses outside the site that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and (given.get("rel") or "") not in KEPT_AT_HOME:
            return
        address = given.get(FETCHED.get(tag, "")) or ""
        if re.match(r"(https?:)?//", address):
            self.found.append(address)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every page of the built site by its path."""
    site = tmp_path_factory.mktemp("site")
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return {str(page.relative_to(site)): page.read_text() for page in site.rglob("*.html")}


def test_every_page_is_built_and_in_the_navigation(pages: dict[str, str]) -> None:
    docs = ROOT / "docs"
    wanted = {str(page.relative_to(docs).with_suffix(".html")) for page in docs.rglob("*.md")}
    assert wanted <= pages.keys()
    # The first page has all of the navigation, folded up.
    linked = set(re.findall(r'href="([^"#]+\.html)"', pages["index.html"])) | {"index.html"}
    assert wanted <= linked


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        parser = Fetched()
        parser.feed(text)
        assert parser.found == [], name


def test_lists_and_tables_are_rendered(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        body = text.partition("<article")[2]
        assert (found := UNRENDERED.search(body)) is None, (
            f"{name}: an empty line is missing before {found and found[1]}"
        )
