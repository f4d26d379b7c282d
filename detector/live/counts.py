"""What the detector reports of itself: its counters and gauges."""

from collections.abc import MutableMapping
from functools import lru_cache

from detector.live.judge import Judge
from detector.live.streams import OwnedStreams
from detector.model.interface import InstallableBank
from detector.training.due import stage


def refresh(counts: MutableMapping[str, float], judge: Judge, bank: InstallableBank, streams: OwnedStreams) -> None:
    """Bring the counts up to date: a pass over all streams in memory."""
    counts["windows_scored"] = judge.windows
    counts["teacher_windows"] = judge.teacher_windows
    counts["teacher_share"] = round(judge.teacher_windows / max(1, judge.windows), 4)
    counts["streams_with_teacher"] = bank.with_teacher()
    fitted: set[float] = set()
    stages = {"cold": 0, "warming": 0, "ready": 0}
    for stream, entry in streams.entries.items():
        ref = bank.model_of(stream)
        if ref is not None and (at := fitted_at(ref.version)):
            fitted.add(at)
        stages[stage(ref.points if ref and ref.grid_version == entry.grid_version else 0)] += 1
    for name, count in stages.items():
        counts[f"streams_{name}"] = count
    counts["newest_model_at"], counts["oldest_model_at"] = (max(fitted), min(fitted)) if fitted else (0.0, 0.0)
    counts["open_incidents"] = sum(
        (stream_state.tracker.incident is not None) + (stream_state.no_data is not None)
        for stream_state in streams.states.values()
    )


@lru_cache(maxsize=4096)
def fitted_at(version: str) -> float:
    """Unix seconds at which a model was fitted, of which its version begins with the milliseconds; 0 where it does not.

    >>> fitted_at("0195b1a2c3d4-0f0f1a2b"), fitted_at("v1")
    (1742441989.076, 0.0)
    """
    try:
        return int(version.partition("-")[0], 16) / 1000
    except ValueError:
        return 0.0
