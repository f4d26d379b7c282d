"""What a student carries on of the past that its stream's ring no longer holds, and how the next fit uses it.

A ring of 8 192 slots is six days of minutes. A fit on it alone takes for new whatever was last seen a week ago, and for
calm what is calm this week. So each fit adds the stretches of its ring to those that the student before it carried, and
learns besides from those that are older than the ring. There are always fewer of what is older: eight weeks in fifteen
stretches.

Shapes: B stretches, S slots of one or of a history, C channels, X slots of a history with what is older, L slots that a
shape memory keeps of one row
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from detector.model.archive import GAP, STRETCH, Archive
from detector.model.artefact import Student

KEPT = 15  # stretches: as many slots as a ring has, with the gaps between them
_SLOTS = 1 << 60  # no clock of ours counts further
KEPT_SHAPED = 4  # of a stream whose channels all have shape memories: they stand in those
ALL = KEPT * (STRETCH + GAP)
_SEEN = 0.5  # share of the slots of a stretch that must have data


def carried(archive: Archive, values_SC: np.ndarray, lo: int, kept: int = KEPT) -> Archive:
    """The archive with the stretches of a history that begins at slot `lo`; so many of all of them."""
    known = set(archive.first_B.tolist())
    aligned = range(-(-lo // STRETCH) * STRETCH, lo + len(values_SC) - STRETCH + 1, STRETCH)
    parts = {at: values_SC[at - lo : at - lo + STRETCH] for at in aligned if at not in known}
    parts = {at: part for at, part in parts.items() if np.isfinite(part).any(1).mean() >= _SEEN}
    if parts:
        old = (zip(archive.first_B.tolist(), archive.value_BSC, strict=True)) if len(archive) else ()
        every = dict(sorted([*old, *parts.items()]))
        archive = Archive(np.array(list(every)), np.stack(list(every.values())).astype(np.float32))
    # Ages as they are when the ring holds nothing of this history any more: until then it has the newest itself.
    return thinned(archive, lo + 2 * len(values_SC), kept)


def thinned(archive: Archive, now: int, kept: int = KEPT) -> Archive:
    """So many stretches: those go whose neighbours are nearest by the ratio of their ages at slot `now`, so that of every
    doubling of age equally many stay. The oldest stays."""
    while len(archive) > kept:
        age_B = now - archive.first_B
        ratio = age_B[:-1] / np.append(age_B[2:], age_B[-1] - STRETCH)
        archive = archive.some(np.arange(len(archive)) != 1 + ratio.argmin())
    return archive


def past_of(student: Student) -> Archive:
    """What a student carries: its archive, or the stretches and the ring that its shape memories point into, not thinned.

    Of a file that says what cannot be it is nothing: the next fit begins anew.
    """
    memories, places = student.memories, student.memories.places
    if len(memories) < len(student.member.channels) or not places or not all(places):
        return student.archive
    until, *first = places[0]
    if any(place != places[0] for place in places) or any(abs(slot) > _SLOTS for slot in places[0]):
        return student.archive
    begin = len(first) * (STRETCH + GAP)
    ring = min(map(len, memories.histories)) - begin  # some may begin with gaps
    if ring < 1 or any(b - a < STRETCH for a, b in pairwise([*first, until + 1 - ring])):
        return student.archive
    at_C = zip(memories.histories, student.rows["centre"], student.rows["scale"], strict=True)
    values_C = [history_L.double() * scale + centre for history_L, centre, scale in at_C]
    older_XC = torch.stack([value_L[:begin] for value_L in values_C], 1).float().numpy()
    ring_SC = torch.stack([value_L[-ring:] for value_L in values_C], 1).float().numpy()
    value_BSC = older_XC.reshape(len(first), STRETCH + GAP, len(values_C))[:, :STRETCH]
    archive = Archive(np.array(first, np.int64), value_BSC) if first else student.archive
    return carried(archive, ring_SC, until + 1 - ring, len(archive) + ring // STRETCH)


def allowed(archive: Archive, oldest: int, exclude: Sequence[tuple[int, int]]) -> Archive:
    """What begins at slot `oldest` or later; excluded slots are gaps."""
    archive = archive.some(archive.first_B >= oldest)
    value_BSC = archive.value_BSC.copy()
    slot_BS = archive.first_B[:, None] + np.arange(STRETCH)
    for first, last in exclude:
        value_BSC[(slot_BS >= first) & (slot_BS <= last)] = np.nan
    return Archive(archive.first_B, value_BSC)


def slots_of(archive: Archive) -> int:
    """Slots that it adds to a history."""
    return len(archive) * (STRETCH + GAP)


def joined(archive: Archive, values_SC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(X, C) values of the stretches and of the ring after them, gaps between; (X,) where the piece of each slot begins."""
    if not len(archive):
        return values_SC, np.zeros(len(values_SC), np.int64)
    many, _, channels = archive.value_BSC.shape
    gap_BSC = np.full((many, GAP, channels), np.nan, np.float32)
    older_XC = np.concatenate([archive.value_BSC, gap_BSC], 1).reshape(-1, channels)
    begin_X = np.repeat(np.arange(many + 1) * (STRETCH + GAP), [STRETCH + GAP] * many + [len(values_SC)])
    return np.concatenate([older_XC, values_SC]), begin_X
