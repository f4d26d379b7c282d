"""The file behind `--config`: TOML whose keys are the names of settings, flat, for all commands alike.

A key that another command has is no mistake: one file may serve all workers. One that no command has is refused.
"""

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError


def read_config(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Name → value. Raises ConfigError: no such file, not TOML, or a key that is not in `known`."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not TOML: {error}") from error
    lines = []
    for key, value in values.items():
        if key not in known:
            [nearest] = difflib.get_close_matches(key, sorted(known), 1, 0.0)
            lines.append(f"{path}: no setting is called {key!r}; the nearest is {nearest!r}")
        elif isinstance(value, dict):
            lines.append(f"{path}: {key} is a table; settings stand alone: {key} = …")
        elif key == "config":
            lines.append(f"{path}: a file of settings cannot name another one")
    if lines:
        raise ConfigError("\n".join(lines))
    return values
