"""docs/reference/cli.md, out of the commands themselves: `python -m streamer.cli.reference > docs/reference/cli.md`."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from streamer.cli.options import settings_of
from streamer.cli.root import build_app
from streamer.settings import CommonSettings

HEAD = """# Commands

Generated (`python -m streamer.cli.reference`). What is said of each is what `--help` says. Every command that talks to servers
takes the [settings of all commands](../settings.md#all-commands) as flags besides (`--bootstrap`, `--redis-url`, `--topic-prefix`,
`--config`, …), before or after its name; workers take [their own](../settings.md), too. Exit status: 0 done, 1 refused or failed (the last line says why),
2 a wrong flag, 130 stopped by Ctrl-C.
"""


def commands(command: Any, path: str = "anomalyllm") -> Iterator[tuple[str, Any]]:
    """Every command that can be called, by its whole name, in the order of `--help`."""
    inner = getattr(command, "commands", {})
    if not inner or (command.invoke_without_command and " " in path):
        yield path, command
    for name, below in inner.items():
        yield from commands(below, f"{path} {name}")


def page() -> str:
    """The whole page, in Markdown: a section for each command."""
    found = dict(commands(typer.main.get_command(build_app())))
    index = [f"- [`{path}`](#{_anchor(path)}): {_first(command.help)}" for path, command in found.items()]
    return "\n".join([HEAD, *index, "", *(_section(path, command) for path, command in found.items())])


def _section(path: str, command: Any) -> str:
    kind = settings_of(command)
    settings = set(kind.model_fields if kind else CommonSettings.model_fields)
    own = [p for p in command.params if p.name not in settings and p.name not in ("help", "help_all")]
    places = [p for p in own if not p.opts[0].startswith("-")]
    usage = " ".join([path, "[OPTIONS]", *map(_place, places)])
    lines = [f"## {path} {{ #{_anchor(path)} }}", "", _plain(command.help), "", "```", usage, "```", ""]
    if own:
        lines += ["| | |", "|---|---|", *(f"| {_name(p)} | {_plain(p.help)} |" for p in own), ""]
    if kind and (more := [name for name in kind.model_fields if name not in CommonSettings.model_fields]):
        lines += [f"And {len(more)} [settings](../settings.md).", ""]
    return "\n".join(lines)


def _place(parameter: Any) -> str:
    many = "..." if parameter.nargs == -1 else ""
    text = f"{_upper(parameter)}{many}"
    return text if parameter.required else f"[{text}]"


def _upper(parameter: Any) -> str:
    return str(parameter.name).upper()


def _name(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"`{_upper(parameter)}`"
    return ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))


def _anchor(path: str) -> str:
    return path.replace(" ", "-")


def _first(text: str) -> str:
    return _plain(text.split("\n\n")[0]).split(". ")[0].rstrip(".")


def _plain(text: str | None) -> str:
    """Help as Markdown: without rich's escapes, in one line a paragraph, bars escaped (they end cells of a table)."""
    joined = re.sub(r"(?<!\n)\n(?!\n)", " ", (text or "").replace("\\[", "["))
    return joined.replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;").replace("*", "\\*").strip()


if __name__ == "__main__":
    print(page(), end="")
