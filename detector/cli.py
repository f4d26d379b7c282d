"""`anomalyllm detector`: the scoring worker."""

from collections.abc import Sequence
from typing import Any

import typer

from detector.live.settings import WorkerSettings
from streamer.cli.options import WORKER_CONNECTION, with_settings
from streamer.doctor.findings import Finding
from streamer.doctor.findings import provide as provide_check
from streamer.overview.bands import Look, provide
from streamer.settings import CommonSettings

SHOWN = ("alerts_per_day", "open_hits", "open_window", "quiet", "warming", "fatigue", "teacher_device")


async def _check(settings: CommonSettings) -> Sequence[Finding]:
    from detector.model.compute_check import check_compute  # with torch

    return await check_compute(settings)


async def _look(*asked: Any) -> Look | None:
    from detector.live.looking import look  # with torch, when somebody looks

    return await look(*asked)


def register(app: typer.Typer) -> None:
    """Add the verb, and say who can look at streams."""
    provide(_look)
    provide_check(_check)

    @app.command("detector")
    @with_settings(WorkerSettings, shown=SHOWN, connection=WORKER_CONNECTION)
    def detector(settings: WorkerSettings) -> None:
        """Run a detector worker: windows in, explained alerts out."""
        from detector.live.worker import run

        run(settings)
