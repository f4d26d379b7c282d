"""The command as a person types it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamer.cli.root import build_app
from streamer.errors import ConfigError
from testkit.waves import waves, write_folder


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), ["backtest", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    # the command sets up logging for its process; a test's process keeps pytest's
    monkeypatch.setattr("trainer.backtest.cli.configure_logs", lambda *_: None)


@pytest.mark.slow(2)
def test_a_folder_with_json_and_pictures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(0), waves(1, burst=False)])
    report, plots = tmp_path / "report.json", tmp_path / "plots"
    done = _run(folder, "--state-dir", tmp_path / "state", "--json", report, "--plot", plots)
    assert done.exit_code == 0, done.output
    assert "wave-0" in done.output
    said = json.loads(report.read_text())
    assert said["summary"]["found"] == 1.0
    assert [series["name"] for series in said["series"]] == ["wave-0", "wave-1"]
    assert said["series"][1]["found"] is None
    assert sorted(p.name for p in plots.iterdir()) == ["wave-0.png", "wave-1.png"]


def test_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "cpu.csv"
    series = waves(3)
    assert series.labels_S is not None
    rows = [
        f"{1_700_000_000 + 60 * i},{v},{int(a)}"
        for i, (v, a) in enumerate(zip(series.values_SC[:, 0], series.labels_S, strict=True))
    ]
    path.write_text("ts,value,label\n" + "\n".join(rows))
    done = _run(path, "--train", 0.6, "--state-dir", tmp_path / "state", "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    [row] = json.loads((tmp_path / "r.json").read_text())["series"]
    assert (row["slots"], row["hits"], row["found"]) == (400, 1, None)
    [burst, *_] = [alert for alert in row["alert_list"] if alert["severity"] == "critical"]
    assert "2023-11-15T11:33" <= burst["started_at"] < "2023-11-15T11:40"  # slot 800 and a few more
    assert burst["started_at"][:19].replace("T", " ") + " to " in done.output
    assert burst["reason"][:40] in done.output


def test_a_report_for_a_browser(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(0), replace(waves(1, channels=5, burst=False), name="<b>&co")])
    html, report = tmp_path / "deep" / "report.html", tmp_path / "r.json"
    done = _run(folder, "--state-dir", tmp_path / "state", "--html", html, "--json", report, "--once")
    assert done.exit_code == 0, done.output
    text = html.read_text()
    assert "&lt;b&gt;&amp;co" in text
    assert "<b>&co" not in text
    for said in (
        "wave-0",
        "What was learnt",
        "more channel",
        'class="incident critical"',
        'class="label"',
    ):
        assert said in text
    assert "drawn" not in json.loads(report.read_text())["series"][0]


def test_a_failed_series_is_told_and_fails_the_command(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", [waves(0)])
    (folder / "wave-0.npz").write_bytes(b"no archive")
    done = _run(folder, "--state-dir", tmp_path / "state")
    assert done.exit_code == 1
    assert "a series is an .npz" in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--history", "all"], "--history: expected 'ring', 'train' or a number"),
        (["--fit-share", "0"], "--fit-share"),
        (["--capacity", "1"], "--capacity must be at least 64"),
        (["--capacity", "100", "--once"], "leave out"),
    ],
)
def test_wrong_flags_are_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _run(tmp_path, *arguments)
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
