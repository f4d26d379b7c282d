"""What the detector reports of itself: its counters and gauges."""

from collections.abc import MutableMapping

from detector.live.judge import Judge
from detector.live.streams import OwnedStreams
from detector.model.interface import InstallableBank
from detector.training.due import stage
from streamer.unjudged import REASONS


def refresh(counts: MutableMapping[str, float], judge: Judge, bank: InstallableBank, streams: OwnedStreams) -> None:
    """Bring the counts up to date: a pass over all streams in memory."""
    counts["windows_scored"] = judge.windows
    counts["teacher_windows"] = judge.teacher_windows
    counts["teacher_share"] = round(judge.teacher_windows / max(1, judge.windows), 4)
    counts["streams_with_teacher"] = bank.with_teacher()
    stages = {"cold": 0, "warming": 0, "ready": 0}
    for stream, entry in streams.entries.items():
        ref = bank.model_of(stream)
        stages[stage(ref.points if ref and ref.grid_version == entry.grid_version else 0)] += 1
    for name, count in stages.items():
        counts[f"streams_{name}"] = count
    whys = [state.unjudged.why for state in streams.states.values() if state.unjudged is not None]
    counts["streams_unjudged"] = len(whys)
    for reason in REASONS:
        if reason != "waiting":  # the streamer's: no window comes of those
            counts[f"streams_unjudged_{reason}"] = whys.count(reason)
    counts["open_incidents"] = sum(
        (stream_state.tracker.incident is not None) + (stream_state.no_data is not None)
        for stream_state in streams.states.values()
    )
