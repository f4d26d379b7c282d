"""What docs and README say to type is there: commands, their flags, variables, and the files that are linked."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic_settings import BaseSettings

from streamer.cli.options import settings_of
from streamer.cli.reference import commands
from streamer.cli.root import build_app
from streamer.settings import CommonSettings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "how-to").glob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(anomalyllm[^`\n]*)`")
VARIABLE = re.compile(r"\bANOMALYLLM_[A-Z0-9_]+")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
ENDS = ("|", "||", "&&", "&", ";", ">", "2>", "<")
# Variables that are no settings: of setup, tests and benchmarks.
OTHERS = {"TORCH_INDEX", "TEST_KAFKA", "DATA", "CHROMIUM", "NAME"}


def said(text: str) -> Iterator[str]:
    """Every `anomalyllm …` of a page, as typed: in blocks of shell, and in the running text."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash", "console"):
            for line in re.sub(r"\\\n", " ", block).splitlines():
                yield from re.findall(r"(?<![\w/.'-])(anomalyllm (?!on >).*)", line)  # `on >`: a user of Redis
    yield from INLINE.findall(FENCE.sub("", text))


def typed(line: str) -> Iterator[list[str]]:
    """The words of each command in a line; comments, pipes and what follows them left out."""
    lexer = shlex.shlex(line.replace("…", " "), posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in ENDS:
            if words[:1] == ["anomalyllm"]:
                yield words[1:]
            words = []
        elif word not in ("(", ")"):
            words.append(word)


@pytest.fixture(scope="module")
def app() -> Any:
    return typer.main.get_command(build_app())


def wrong(app: Any, words: list[str]) -> str | None:
    """What is not there, in words; None: all is."""
    known = dict(commands(app))
    path, command = "anomalyllm", app
    while words and words[0] in getattr(command, "commands", {}):
        path, command, words = f"{path} {words[0]}", command.commands[words[0]], words[1:]
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    if command is app and words and not words[0].startswith("-"):
        return f"there is no command {words[0]}"
    if path not in known and path != "anomalyllm" and words:
        return f"there is no command {path} {words[0]}"
    own = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    before = {flag for parameter in app.params for flag in parameter.opts}
    missing = flags - own - before - {"--help", "-h", "--help-all"}
    return f"{path} has no {', '.join(sorted(missing))}" if missing else None


def test_commands_and_flags_are_there(app: Any) -> None:
    checked = 0
    bad = []
    for page in PAGES:
        for line in said(page.read_text()):
            for words in typed(line):
                checked += 1
                if problem := wrong(app, words):
                    bad.append(f"{page.relative_to(ROOT)}: {line}: {problem}")
    assert bad == []
    assert checked > 100  # the pattern still finds them


@pytest.mark.parametrize(
    "line",
    ["anomalyllm alarms", "anomalyllm alerts --sinces 1d", "anomalyllm streams sett a", "x | anomalyllm up --port 1"],
)
def test_what_is_not_there_is_found(app: Any, line: str) -> None:
    assert [wrong(app, words) for words in typed(line)] != [None]


def test_variables_are_settings(app: Any) -> None:
    kinds: list[type[BaseSettings]] = [CommonSettings]
    kinds += [kind for _, command in commands(app) if (kind := settings_of(command))]
    known = {name.upper() for kind in kinds for name in kind.model_fields}
    own = {
        p.envvar.removeprefix("ANOMALYLLM_") for _, c in commands(app) for p in c.params if isinstance(p.envvar, str)
    }
    for page in PAGES:
        for name in VARIABLE.findall(page.read_text()):
            bare = name.removeprefix("ANOMALYLLM_")
            of_a_command = any(bare.startswith(path.split()[-1].upper()) for path, _ in commands(app))
            assert bare in known | own | OTHERS or of_a_command, f"{page.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: str(page.name))
def test_links_outside_the_site_hold(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []
