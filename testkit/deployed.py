"""Files of deploy/ against the code: what they start, with which variables, and whether the command understands it."""

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from pydantic import ValidationError

from streamer.cli.options import env_name, settings_of
from streamer.cli.root import build_app
from streamer.settings import CommonSettings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\bANOMALYLLM_[A-Z0-9_]+")


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    stage: str
    word: str
    text: str


@dataclass
class Started:
    """What a file starts: the words after `anomalyllm`, and the variables that are set for it."""

    where: str
    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


def dockerfile(path: Path) -> list[Instruction]:
    """Instructions in order; those before the first FROM have the stage ''."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    stage, found = "", []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        if word == "FROM":
            stage = rest.split()[-1]
        found.append(Instruction(stage, word, rest.strip()))
    return found


def image_variables(path: Path) -> dict[str, str]:
    """What ENV sets in a Dockerfile, all stages together."""
    found: dict[str, str] = {}
    for each in dockerfile(path):
        if each.word == "ENV":
            found |= dict(part.split("=", 1) for part in shlex.split(each.text))
    return found


def known_variables() -> set[str]:
    """Variables that some command reads."""
    return set().union(*(_variables_of(command) for command in _commands(_root())))


def problems(started: Started) -> list[str]:
    """What the command would not understand: its words, a variable of another command, a value that is refused."""
    command, rest, found = _root(), list(started.words), []
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    if hasattr(command, "commands") and not (command.invoke_without_command or rest in (["--help"], ["--version"])):
        return [f"{started.where}: there is no command {shlex.join(started.words)}"]
    try:
        command.make_context("anomalyllm", rest)
    except typer.Exit:  # --help
        return []
    except Exception as error:  # whatever it is refused by
        found.append(f"{started.where}: {shlex.join(started.words)}: {error}")
    own = {name: value for name, value in started.variables.items() if name.startswith("ANOMALYLLM_")}
    found += [f"{started.where}: {name} is nothing to {started.words}" for name in set(own) - _variables_of(command)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        try:
            (settings_of(command) or CommonSettings)()
        except ValidationError as error:
            found += [f"{started.where}: {line['loc']}: {line['msg']}" for line in error.errors()]
    return found


def commands_in(text: str, where: str) -> Iterator[Started]:
    """Commands in a text for people: lines of its blocks that begin with `anomalyllm`."""
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            if line.strip().startswith("anomalyllm "):
                yield Started(where, shlex.split(line, comments=True)[1:])


@functools.cache
def _root() -> Any:
    return typer.main.get_command(build_app())


def _commands(command: Any) -> Iterator[Any]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from _commands(inner)


def _variables_of(command: Any) -> set[str]:
    kind = settings_of(command) or CommonSettings
    own = {parameter.envvar for parameter in command.params if isinstance(parameter.envvar, str)}
    return own | {env_name(kind, name) for name in kind.model_fields}
