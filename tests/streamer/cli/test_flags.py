"""The command's verbs, flags, environment variables and defaults, frozen: scripts and manifests depend on them.

After a change that is meant: `python tests/streamer/cli/test_flags.py > tests/streamer/cli/flags.txt`, and say it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic_settings import BaseSettings

from streamer.cli.options import env_name, flag_name, settings_of
from streamer.cli.root import build_app
from streamer.cli.settings_page import page
from streamer.settings import CommonSettings

FROZEN = Path(__file__).with_name("flags.txt")
WORKERS = ("streamer", "detector", "trainer")


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, f"{path} {name}")
    if not hasattr(command, "commands") or (command.invoke_without_command and path.count(" ")):
        yield path, command


def _setting(kind: type[BaseSettings], name: str) -> str:
    field = kind.model_fields[name]
    default = "made up" if field.default_factory else field.default
    return f"{flag_name(name)}  {env_name(kind, name)}; default: {default}"


def _own(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"{parameter.name.upper()}"
    flags = "/".join([*parameter.opts, *parameter.secondary_opts])
    return f"{flags}  {parameter.envvar + '; ' if parameter.envvar else ''}default: {parameter.default}"


def flags() -> str:
    """All of it, a line a flag; settings that every command has, or every worker of a kind, are listed there once."""
    commands = dict(_commands(typer.main.get_command(build_app()), "anomalyllm"))
    kinds: dict[str, type[BaseSettings]] = {"every command that talks to servers": CommonSettings}
    kinds |= {name: kind for name in WORKERS if (kind := settings_of(commands[f"anomalyllm {name}"]))}
    listed: set[str] = set()
    lines: list[str] = []
    for title, kind in kinds.items():
        found = [line for name in kind.model_fields if (line := _setting(kind, name)) not in listed]
        listed |= set(found)
        lines += [
            title if kind is CommonSettings else f"settings of anomalyllm {title}",
            *map("  {}".format, found),
            "",
        ]
    for path, command in commands.items():
        kind = settings_of(command) or CommonSettings
        settings = [parameter.name for parameter in command.params if parameter.name in kind.model_fields]
        bases = [title for title, base in kinds.items() if issubclass(kind, base) and title in WORKERS]
        # a command of several bases has what each of them has
        with_settings_of = f"  settings of {', '.join(bases)}" if bases and path.split()[1:] != bases else ""
        without = sorted(flag_name(name) for name in kind.model_fields if name not in settings)
        lines += [path + with_settings_of + (f"  (without {' '.join(without)})" if without else "")]
        lines += [f"  {_own(p)}" for p in command.params if p.name not in (*settings, "help", "help_all")]
        own = [_setting(kind, name) for name in settings]
        lines += [f"  {line}" for line in own if line not in listed]
        lines += [""]
    return "\n".join(lines)


def test_flags_are_frozen() -> None:
    assert flags() == FROZEN.read_text(), "flags changed; if that is meant, see the head of this file"


def test_the_page_of_settings_is_of_this_code() -> None:
    written = Path(__file__).parents[3] / "docs" / "settings.md"
    assert page() == written.read_text(), "python -m streamer.cli.settings_page > docs/settings.md"


if __name__ == "__main__":
    print(flags(), end="")
