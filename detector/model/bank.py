"""The student bank: students of all streams as stacked tensors, scored in one call.

The phases stand in `detector.model.scoring`, one in each module; each returns what it has made.
"""

from collections.abc import Sequence

import torch

from detector.model import prior
from detector.model.installed import InstalledStudents
from detector.model.interface import Segment, SegmentScore, unscored
from detector.model.scoring.asked import asked
from detector.model.scoring.depth0 import depth0
from detector.model.scoring.finished import finished
from detector.model.scoring.gathered import gathered

__all__ = ["LayoutBank", "Segment", "SegmentScore"]


class LayoutBank(InstalledStudents):
    """Scores windows of any number of streams against their students, which are all of one layout.

    `put` and `remove` may be called from another thread than `score`: each call sees all of a swap or nothing.

    >>> import numpy as np
    >>> from detector.model.layout import Layout
    >>> bank = LayoutBank(Layout((8, 16), prototypes=8, shapes=4, medoids=16), None, torch.device("cpu"))
    >>> [score] = bank.score([Segment("web.cpu", np.zeros((300, 1), np.float32), count=3)])
    >>> score.warming, len(score.surprise_K)
    (True, 3)
    """

    def score(self, segments: Sequence[Segment], ask_teacher: bool = True) -> list[SegmentScore]:
        """Scores of all segments, in their order; at depth 0 where the teacher is not to be asked.

        A stream without a student is scored by the generic prior; a segment whose number of channels differs from its
        student's gets NaN. A score depends on the slots up to it alone, not on how they come in calls.
        """
        with self._lock, torch.inference_mode():
            cold = [i for i, segment in enumerate(segments) if segment.cold or segment.stream not in self._installed]
            warm = sorted(set(range(len(segments))).difference(cold))
            scores = dict(zip(cold, prior.score([segments[i] for i in cold], self.device), strict=True))
            groups, unscorable = gathered(segments, warm, self._installed, self.device)
            for i, slots in unscorable.items():
                segment = segments[i]
                scores[i] = unscored(segment.stream, slots, segment.channels, self.version_of(segment.stream))
            shallow = [depth0(group, self) for group in groups]
            deep = asked(groups, shallow, self, ask_teacher)
            for parts in zip(groups, shallow, deep, strict=True):
                scores |= finished(*parts, self)
        return [scores[i] for i in range(len(segments))]
