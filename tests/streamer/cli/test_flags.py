"""The command's verbs, flags, environment variables and defaults, frozen: scripts and manifests depend on them.

After a change that is meant: `python tests/streamer/cli/test_flags.py > tests/streamer/cli/flags.txt`, and say it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from streamer.cli.options import flag_name
from streamer.cli.root import build_app
from streamer.settings import CommonSettings

FROZEN = Path(__file__).with_name("flags.txt")
NOTE = re.compile(r"\[([A-Z_]+(?:; )?(?:default: .*|required)?)\]$")
COMMON = {flag_name(field) for field in CommonSettings.model_fields}


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, command


def _line(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"{parameter.name.upper()}"
    flags = "/".join([*parameter.opts, *parameter.secondary_opts])
    note = NOTE.search((parameter.help or "").replace("\\[", "["))
    if note:
        return f"{flags}  {note[1]}"
    return f"{flags}  {parameter.envvar + '; ' if parameter.envvar else ''}default: {parameter.default}"


def flags() -> str:
    """All of it, a line a flag; what every command has is listed once."""
    commands = dict(_commands(typer.main.get_command(build_app()), "anomalyllm"))
    common = [_line(p) for p in commands["anomalyllm topics provision"].params if p.opts[0] in COMMON]
    lines = ["every command that talks to servers", *(f"  {line}" for line in common)]
    for path, command in commands.items():
        given = {opt for parameter in command.params for opt in parameter.opts}
        missing = COMMON - given
        lines += ["", path + ("" if not missing else f"  (without {' '.join(sorted(missing))})")]
        lines += [f"  {_line(p)}" for p in command.params if p.opts[0] not in COMMON and p.name != "help"]
    return "\n".join(lines) + "\n"


def test_flags_are_frozen() -> None:
    assert flags() == FROZEN.read_text(), "flags changed; if that is meant, see the head of this file"


if __name__ == "__main__":
    print(flags(), end="")
