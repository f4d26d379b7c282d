"""What a person may type, and what is said of what cannot be."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamer.cli.root import build_app
from streamer.errors import ConfigError
from streamer.sources.layout import Hints
from streamer.timestamps import NS
from trainer.replay.cli import Asked, _of_files, _settings, history_ns, instant

T0 = 1_767_225_600
DAY = 86_400


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to replay"),
        (["nowhere.csv"], "nowhere.csv: no such file"),
        (["--from", "yesterday"], "--from: expected a day"),
        (["--from", "2026-01-06T08:00:00"], "a time with its zone"),
        (["--from", "2026-01-06", "--to", "2026-01-06"], "does not lie after"),
        (["--from", "2026-01-06", "--history", "half"], "--history: expected auto"),
        (["--from", "2026-01-06", "--history", "100%"], "--history: expected auto"),
        (["--from", "2026-01-06", "--capacity", "1"], "--capacity must be at least 64"),
        (["--from", "2026-01-06", "--alerts-per-week", "0"], "--alerts-per-week: "),
        (["--from", "2026-01-06", "--interval-s", "-1"], "--interval-s: "),
        (["{csv}", "--keep"], "--keep: servers of its own keep nothing"),
        (["{csv}", "--from", "2030-01-01"], "nothing lies after 2030-01-01"),
        (["{csv}", "--stream", "nothing*"], "no points of streams like nothing*"),
        (["{csv}", "--to", "2020-01-01"], "no points of streams like *"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "a.csv").write_text("ts,value\n" + "".join(f"{T0 + i},{i % 7}\n" for i in range(50)))
    given = [argument.format(csv=tmp_path / "a.csv") for argument in arguments]
    done = CliRunner().invoke(build_app(), ["replay", *given])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)


async def _plan(folder: Path, **own: Any) -> Any:
    given = {
        "begin": None, "end": None, "stream": "*", "history": "auto", "hints": Hints(), "own": _settings({}), **own,
    }  # fmt: skip
    return await _of_files(Asked([folder / "a.csv"], **given))


async def test_what_is_learnt_from_and_what_is_judged(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,value\n" + "".join(f"{T0 + 3600 * i},{i % 7}\n" for i in range(24 * 30)))

    async def days(**own: Any) -> tuple[float, float, float]:
        plan = await _plan(tmp_path, **own)
        first, _ = plan.recording.span()
        begin, judged, end = (round((ns / NS - T0) / DAY, 1) for ns in (first, plan.judged_from_ns, plan.end_ns))
        return begin, judged, end

    assert await days() == (0, 8, 30)
    assert await days(end="2026-01-05") == (0, 2, 4)  # half of four days
    assert await days(history="20%") == (0, 6, 30)
    assert await days(history="3d", begin="2026-01-11", end="2026-01-21") == (7, 10, 20)
    assert await days(begin="2026-01-11") == (0, 10, 30)


async def test_what_is_said_of_all_streams_holds_for_each(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ts,x,y\n" + "".join(f"{T0 + i},{i % 7},1\n" for i in range(50)))
    plan = await _plan(tmp_path, own=_settings({"kind": "gauge", "interval_s": None}))
    assert {name: own.model_dump(exclude_unset=True) for name, own in plan.own.items()} == {
        "a.x": {"kind": "gauge"},
        "a.y": {"kind": "gauge"},
    }
    assert history_ns("30%", 100) == 30
    assert instant("--to", "2026-01-01T01:00:00+01:00", 0) == T0 * NS
