"""What the detector reports of itself: its counters and gauges."""

from collections.abc import MutableMapping

from detector.live.judge import Judge
from detector.live.streams import OwnedStreams
from detector.model.interface import InstallableBank
from detector.training.due import stage


def refresh(counts: MutableMapping[str, float], judge: Judge, bank: InstallableBank, streams: OwnedStreams) -> None:
    """Bring the counts up to date: a pass over all streams in memory."""
    counts["windows_scored"] = judge.windows
    counts["teacher_windows"] = judge.teacher_windows
    counts["teacher_share"] = round(judge.teacher_windows / max(1, judge.windows), 4)
    counts["streams_unjudged"] = len(judge.unjudged)  # scoring them fails
    counts["streams_with_teacher"] = bank.with_teacher()
    stages = {"cold": 0, "warming": 0, "ready": 0}
    for stream, entry in streams.entries.items():
        ref = bank.model_of(stream)
        stages[stage(ref.points if ref and ref.grid_version == entry.grid_version else 0)] += 1
    for name, count in stages.items():
        counts[f"streams_{name}"] = count
    counts["open_incidents"] = sum(
        (stream_state.tracker.incident is not None) + (stream_state.no_data is not None)
        for stream_state in streams.states.values()
    )
