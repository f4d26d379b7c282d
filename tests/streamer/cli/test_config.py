"""Where a setting comes from: flag over environment over file over default, and errors that say which."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from detector.live.settings import WorkerSettings
from streamer.cli.options import connection_before, with_settings
from streamer.errors import ConfigError
from streamer.settings import CommonSettings, StreamerSettings


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def app(seen: list[Any]) -> typer.Typer:
    """Two workers under one root, as the real ones."""
    app = typer.Typer()

    def root(given: None) -> None:
        """Root."""

    app.callback()(connection_before(root))

    @app.command("detector")
    @with_settings(WorkerSettings)
    def detector(settings: WorkerSettings) -> None:
        seen.append(settings)

    @app.command("streamer")
    @with_settings(StreamerSettings)
    def streamer(settings: StreamerSettings) -> None:
        seen.append(settings)

    @app.command("alerts")
    @with_settings(CommonSettings)
    def alerts(settings: CommonSettings) -> None:
        seen.append(settings)

    return app


def _run(app: typer.Typer, *arguments: object) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


def _file(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_flag_over_environment_over_file_over_default(
    app: typer.Typer, seen: list[WorkerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, "open_hits = 5\nopen_window = 6\nquiet = 7\nwarming = false\nmin_history = 300\n")
    monkeypatch.setenv("ANOMALYLLM_QUIET", "8")
    monkeypatch.setenv("anomalyllm_min_history", "400")
    done = _run(app, "detector", "--config", path, "--open-hits", 4)
    assert done.exit_code == 0, done.output
    [made] = seen
    assert (made.open_hits, made.open_window, made.quiet, made.warming) == (4, 6, 8, False)
    assert (made.min_history, made.max_slots, made.config) == (400, 1024, path)


def test_the_file_may_be_named_by_a_variable(
    app: typer.Typer, seen: list[WorkerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALYLLM_CONFIG", str(_file(tmp_path, 'bootstrap = "kafka:1"\nno_data_min_s = 2.5\n')))
    assert _run(app, "detector").exit_code == 0
    assert (seen[0].bootstrap, seen[0].no_data_min_s) == ("kafka:1", 2.5)


def test_one_file_serves_all_workers(app: typer.Typer, seen: list[Any], tmp_path: Path) -> None:
    path = _file(tmp_path, 'bootstrap = "kafka:1"\nopen_hits = 1\ncapacity = 512\n')
    for verb in ("detector", "streamer", "alerts"):
        assert _run(app, verb, "--config", path).exit_code == 0
    detector, streamer, alerts = seen
    assert {made.bootstrap for made in seen} == {"kafka:1"}
    assert (detector.open_hits, streamer.capacity) == (1, 512)
    assert not hasattr(alerts, "capacity")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open_hit = 5", "no setting is called 'open_hit'; the nearest is 'open_hits'"),
        ("open-hits = 5", "no setting is called 'open-hits'; the nearest is 'open_hits'"),
        ("[detector]\nquiet = 5", "no setting is called 'detector'"),
        ("[quiet]\nx = 5", "quiet is a table"),
        ("quiet = 0", "quiet in {path}: Input should be greater than or equal to 1, got 0"),
        ("quiet == 0", "not TOML"),
        ('config = "other.toml"', "cannot name another one"),
        ("open_hits = 9", "open_hits 9 cannot exceed open_window 3"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(app: typer.Typer, tmp_path: Path, text: str, said: str) -> None:
    path = _file(tmp_path, text)
    done = _run(app, "detector", "--config", path)
    assert isinstance(done.exception, ConfigError)
    assert said.format(path=path) in str(done.exception)


def test_every_unknown_key_is_named(app: typer.Typer, tmp_path: Path) -> None:
    done = _run(app, "alerts", "--config", _file(tmp_path, "bootstap = 'x'\nquite = 3"))
    assert "'bootstrap'" in str(done.exception)
    assert "'quiet'" in str(done.exception)


def test_a_file_that_is_not_there_is_said(app: typer.Typer, tmp_path: Path) -> None:
    done = _run(app, "alerts", "--config", tmp_path / "no.toml")
    assert isinstance(done.exception, ConfigError)
    assert "No such file" in str(done.exception)


def test_connection_flags_stand_before_or_after_the_verb(
    app: typer.Typer, seen: list[CommonSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _file(tmp_path, 'topic_prefix = "file."\nredis_url = "redis://file"\nnamespace = "file"\n')
    monkeypatch.setenv("ANOMALYLLM_NAMESPACE", "env")
    monkeypatch.setenv("ANOMALYLLM_REDIS_URL", "redis://env")
    done = _run(
        app, "--bootstrap", "before:1", "--redis-url", "redis://before", "--config", path,
        "alerts", "--bootstrap", "after:1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    [made] = seen
    assert (made.bootstrap, made.redis_url) == ("after:1", "redis://before")
    assert (made.topic_prefix, made.namespace) == ("file.", "env")


def test_a_password_is_in_no_error(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, "redis_url = ['open-sesame']")
    failed = [_run(app, "detector", "--config", path)]
    monkeypatch.setenv("ANOMALYLLM_REDIS_URL", "redis://:open-sesame@localhost:1/0")
    failed += [_run(app, "detector", "--quiet", 0), _run(app, "detector", "--open-hits", 9)]
    for done in failed:
        assert isinstance(done.exception, ConfigError)
        assert "open-sesame" not in str(done.exception) + done.output
