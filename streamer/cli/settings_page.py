"""docs/settings.md, out of the commands themselves: `python -m streamer.cli.settings_page > docs/settings.md`."""

from collections.abc import Mapping
from typing import Any

import typer
from pydantic.fields import FieldInfo

from streamer.cli.options import settings_of
from streamer.cli.root import build_app
from streamer.security import NO_SECURITY
from streamer.settings import CommandSettings, CommonSettings

WORKERS = ("streamer", "detector", "trainer", "console")
HEAD = """# Settings

Generated (`python -m streamer.cli.settings_page`). Each setting is a flag (`--open-hits 3`), a variable
(`ANOMALYLLM_OPEN_HITS=3`) and a key of a TOML file (`open_hits = 3`; `--config FILE` or `ANOMALYLLM_CONFIG`). A flag wins
over a variable, that over the file, that over the default. One file may serve all commands; a key that none of them has
is refused. Lists are JSON (`[8, 16, 64]`), or `8,16,64` as a flag. Secrets (passwords) have no flag, which process
lists would show; each may stand in a file of its own instead (`…_file`). Of a stream alone: `anomalyllm streams set --help`.

What students look at, and with which teacher, is a setting of the trainer alone: artefacts carry it, and a detector scores
what it is given.
"""


def page() -> str:
    """The whole page, in Markdown: a section for each set of workers that share settings."""
    commands: Any = typer.main.get_command(build_app())
    kinds = {worker: kind for worker in WORKERS if (kind := settings_of(commands.commands[worker]))}
    own = {name: field for name, field in CommonSettings.model_fields.items() if name not in NO_SECURITY}
    secured = {name: CommonSettings.model_fields[name] for name in NO_SECURITY}
    sections: dict[str, dict[str, FieldInfo]] = {"All commands": own, "All commands: security": secured}
    only = {
        name: CommandSettings.model_fields[name]
        for name in CommandSettings.model_fields.keys() - CommonSettings.model_fields.keys()
    }
    sections["Commands that a person types"] = only
    for kind in kinds.values():
        for name, field in kind.model_fields.items():
            if name not in CommonSettings.model_fields:
                sharing = " and ".join(worker for worker, other in kinds.items() if name in other.model_fields)
                sections.setdefault(f"`anomalyllm` {sharing}", {})[name] = field
    return "\n".join([HEAD, *(_table(title, fields) for title, fields in sections.items())])


def _table(title: str, fields: Mapping[str, FieldInfo]) -> str:
    lines = [f"## {title}", "| setting | default | |", "|---|---|---|"]
    for name, field in fields.items():
        none = field.default_factory is not None or field.default in (None, "")
        lines.append(f"| `{name}` | {'' if none else f'`{field.default}`'} | {field.description} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(page(), end="")
