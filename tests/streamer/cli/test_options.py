"""Settings fields as command line options: flag over environment over default, and errors that name both."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from typer.testing import CliRunner

from streamer.cli.options import with_settings
from streamer.errors import ConfigError


class Example(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    name: str = Field("x", description="What it is called.")
    count: int = Field(8, ge=1)
    fast: bool = True
    mode: Literal["a", "b"] = "a"
    limit: float | None = None
    tags: list[str] = []
    folder: Path = Path("here")


@pytest.fixture
def seen() -> list[tuple[Example, str]]:
    return []


@pytest.fixture
def app(seen: list[tuple[Example, str]]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_settings(Example, shown=("name", "fast"))
    def go(settings: Example, file: Annotated[str, typer.Argument()] = "-") -> None:
        """Go."""
        seen.append((settings, file))

    return app


def test_defaults(app: typer.Typer, seen: list[tuple[Example, str]]) -> None:
    assert CliRunner().invoke(app, []).exit_code == 0
    assert seen == [(Example(), "-")]


def test_flags_win_over_the_environment(
    app: typer.Typer, seen: list[tuple[Example, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAMPLE_COUNT", "5")
    monkeypatch.setenv("EXAMPLE_NAME", "env")
    arguments = ["f", "--count", "3", "--no-fast", "--mode", "b", "--limit", "2", "--tags", '["q"]']
    result = CliRunner().invoke(app, [*arguments, "--folder", "/there"])
    assert result.exit_code == 0, result.output
    settings, file = seen[0]
    assert file == "f"
    assert settings.model_dump() == {
        "name": "env",
        "count": 3,
        "fast": False,
        "mode": "b",
        "limit": 2.0,
        "tags": ["q"],
        "folder": Path("/there"),
    }


def test_help_shows_variable_default_and_description(app: typer.Typer) -> None:
    short = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert "What it is called. [default: x]" in short
    assert "--count" not in short
    output = CliRunner().invoke(app, ["--help-all"], env={"COLUMNS": "200"}).output
    assert "What it is called. [default: x] [EXAMPLE_NAME]" in output
    assert "[default: 8] [EXAMPLE_COUNT]" in output
    assert "--no-fast" in output


def test_a_bad_value_names_flag_and_variable(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["--count", "0"])
    assert isinstance(result.exception, ConfigError)
    assert "--count (or EXAMPLE_COUNT): Input should be greater than or equal to 1, got 0" in str(result.exception)


def test_a_field_that_the_command_has_itself_gets_no_option() -> None:
    app = typer.Typer()

    @app.command()
    @with_settings(Example)
    def go(settings: Example, name: Annotated[str, typer.Option()] = "mine") -> None:
        typer.echo(f"{name} {settings.name}")

    assert CliRunner().invoke(app, []).output == "mine x\n"
