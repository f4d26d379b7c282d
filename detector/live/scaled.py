"""Scores of a stream whose ring has a scale, in the unit of its data.

Shapes: K scored slots, C channels
"""

from dataclasses import replace

from detector.model.interface import SegmentScore
from streamer.windows.scale import Scale


def in_data_unit(score: SegmentScore, scale: Scale | None) -> SegmentScore:
    """What was expected, and how far off it was, as people know it, float64; surprises are what they are. None: no scale."""
    if scale is None:
        return score
    made = replace(
        score,
        expected_KC=scale.data(score.expected_KC), low_KC=scale.data(score.low_KC), high_KC=scale.data(score.high_KC),
        deviation_KC=score.deviation_KC * scale.unit_C,
    )  # fmt: skip
    if score.season_channel_K is None:
        return made
    at_K = Scale(scale.offset_C[score.season_channel_K], scale.unit_C[score.season_channel_K])
    for name in ("season_low_K", "season_high_K", "season_expected_K"):
        value_K = getattr(score, name)
        if value_K is not None:
            setattr(made, name, at_K.data(value_K))
    return made
