"""What a student carries on from fit to fit, and how a fit uses it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detector.model.archive import GAP, STRETCH, Archive
from detector.model.artefact import ArtefactStore, Member, Student
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.window_ends import whole
from testkit.simulation import history, quick_settings
from trainer.fit.archive import KEPT, KEPT_SHAPED, allowed, carried, joined, past_of, thinned
from trainer.fit.held_back import halves_of
from trainer.fit.histories import History, padded, stacks
from trainer.fit.run import train
from trainer.fit.update import fresh_history, update

RING = 2048


def _lived(slots: int, every: int, lo: int = 0) -> Archive:
    """The archive of a stream whose values are its slots, fitted every so often."""
    archive = Archive()
    for hi in range(lo + every, lo + slots + 1, every):
        first = max(lo, hi - RING)
        values_SC = np.arange(first, hi, dtype=np.float32)[:, None]
        archive = carried(allowed(archive, lo - 1, []), values_SC, first)
    return archive


@given(every=st.integers(200, RING // 2), rings=st.integers(1, 40), lo=st.integers(-5000, 5000))
def test_stretches_are_of_the_past_and_older_ones_are_rarer(every: int, rings: int, lo: int) -> None:
    archive = _lived(rings * RING, every, lo)
    assert len(archive) <= KEPT
    for first, value_SC in zip(archive.first_B.tolist(), archive.value_BSC, strict=True):
        assert value_SC[:, 0].tolist() == list(range(first, first + STRETCH))
    assert (np.diff(archive.first_B) >= STRETCH).all()
    if rings > 8:
        hi = lo + rings * RING // every * every
        assert archive.first_B[0] < lo + 2 * STRETCH  # the oldest stays
        assert (hi - archive.first_B < RING * rings / 2).sum() > KEPT / 2


def test_excluded_slots_and_what_is_too_old_are_left_out() -> None:
    archive = Archive(np.arange(3) * STRETCH, np.ones((3, STRETCH, 1), np.float32))
    known = allowed(archive, 10, [(STRETCH + 5, STRETCH + 9), (2 * STRETCH - 1, 2 * STRETCH)])
    assert known.first_B.tolist() == [STRETCH, 2 * STRETCH]
    assert np.flatnonzero(np.isnan(known.value_BSC[0, :, 0])).tolist() == [5, 6, 7, 8, 9, STRETCH - 1]
    assert np.flatnonzero(np.isnan(known.value_BSC[1, :, 0])).tolist() == [0]
    assert np.isfinite(archive.value_BSC).all()


def test_gaps_and_empty_stretches() -> None:
    values_SC = np.ones((4 * STRETCH, 2), np.float32)
    values_SC[: STRETCH // 2 + 1] = np.nan
    archive = carried(Archive(), values_SC, 0)
    assert archive.first_B.tolist() == [STRETCH, 2 * STRETCH, 3 * STRETCH]
    both_XC, begin_X = joined(archive.some(slice(1)), values_SC)
    assert len(both_XC) == len(values_SC) + STRETCH + GAP == len(begin_X)
    assert np.isnan(both_XC[STRETCH : STRETCH + GAP]).all()
    assert begin_X[[0, STRETCH, STRETCH + GAP, -1]].tolist() == [0, 0, STRETCH + GAP, STRETCH + GAP]


def test_stacks_hold_it_left_of_the_ring() -> None:
    ring_SC = np.arange(1000, dtype=np.float32)[:, None]
    archive = Archive(np.array([-4096, -1024, -100]), np.full((3, STRETCH, 1), -5, np.float32))
    old = History("a", ("value",), ring_SC, 0, archive=archive)
    apart = History("b", ("value",), ring_SC, 0, archive=archive, apart=True)
    assert (len(old.older), len(apart.older)) == (2, 0)  # of the third the ring holds a part
    [short, long] = stacks([old, apart], torch.device("cpu"))
    assert [h.stream for h in (*short.histories, *long.histories)] == ["b", "a"]
    length = padded(1000 + 2 * (STRETCH + GAP))
    assert long.values_RL.shape == long.begin_RL.shape == (1, length)
    assert int((long.values_RL == -5).sum()) == 2 * STRETCH
    assert sorted(set(long.begin_RL[0].tolist())) == [0, length - 1000 - STRETCH - GAP, length - 1000]
    np.testing.assert_array_equal(long.values_RL[0, -1000:], ring_SC[:, 0])


def test_both_halves_hold_every_other_stretch() -> None:
    old = Archive(np.arange(5) * STRETCH, np.ones((5, STRETCH, 1), np.float32))
    [stack] = stacks(
        [History("a", ("value",), np.ones((1001, 1), np.float32), 10_000, archive=old)], torch.device("cpu")
    )
    halves = halves_of(stack.values_RL, stack.begin_RL)
    seen_L = torch.isfinite(stack.values_RL[0])
    at_L = torch.arange(len(seen_L))
    first_L, second_L = halves.first(at_L)[0] & seen_L, halves.second(at_L, 1)[0] & seen_L
    assert bool(((first_L ^ second_L) == seen_L).all())
    assert (int(first_L[:-1001].sum()), int(first_L[-1001:].sum())) == (3 * STRETCH, 501)
    second_64_L = halves.second(at_L, 64)[0] & whole(stack.values_RL, 64)[0]
    assert int(second_64_L.sum()) == 2 * (STRETCH - 63) + 500 - 63


def test_padding_is_a_power_of_two_or_half_as_much_again() -> None:
    assert [padded(n) for n in (1, 256, 257, 384, 385, 512, 8192, 8193, 12288, 12289)] == [
        256, 256, 384, 384, 512, 512, 8192, 12288, 12288, 16384,
    ]  # fmt: skip


def test_shape_memories_hold_what_is_carried_on(tmp_path: Path) -> None:
    """Their histories are stretches of the past and the ring; the next fit has both, as far as its own ring has not."""
    rng = np.random.default_rng(2)
    wave_SC = (np.sin(np.arange(RING) / 6) + 0.05 * rng.normal(size=RING)).astype(np.float32)[:, None]
    long_SC = np.concatenate([wave_SC + 3, wave_SC + 2, wave_SC])
    archive = carried(Archive(), long_SC[: 2 * RING], 0)
    made = train([History("x", ("c0",), wave_SC, 2 * RING, 1, shapes=archive)], None, quick_settings(tmp_path))
    [[history_L], [place]] = made.memories.histories, made.memories.places
    assert len(history_L) == KEPT_SHAPED * (STRETCH + GAP) + RING
    assert place[0] == 3 * RING - 1
    assert place[1:] == thinned(archive, 3 * RING - 1, KEPT_SHAPED).first_B.tolist()
    assert [len(kept) for kept in made.archives] == [0]
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    [student] = store.read(*store.write("v1.safetensors", made.data()), [0], archives=True)
    past = past_of(student)
    assert past.first_B.tolist() == [*place[1:], *range(2 * RING, 3 * RING, STRETCH)]
    for first, value_SC in zip(past.first_B, past.value_BSC, strict=True):
        np.testing.assert_allclose(value_SC, long_SC[first : first + STRETCH], atol=5e-3)
    # through an update, which keeps the memories and carries nothing else
    later = History("x", ("c0",), np.concatenate([wave_SC, wave_SC[:512]]), 2 * RING, 1)
    again = update({"x": student}, [fresh_history(student, later)], None, quick_settings(tmp_path))
    assert again.memories.places == [place]


@pytest.mark.parametrize(
    "place",
    [[], [RING], [3 * RING, 0, STRETCH - 1], [3 * RING, 0, 9 * RING], [5, *range(0, 20 * STRETCH, STRETCH)], [1 << 61]],
)
def test_places_that_cannot_be_carry_nothing(place: list[int]) -> None:
    """A file of somebody else, or of before: the next fit begins anew."""
    member = Member("x", 0, ["c0"], 1, (0, 99), 100)
    rows = {"centre": torch.zeros(1), "scale": torch.ones(1)}
    memories = Memories([0], {}, [torch.zeros(2 * (STRETCH + GAP) + 100)], [place])
    past = past_of(Student("v", member, Layout((8,), 1, 1, 1), rows, {}, memories))
    assert len(past) == (2 if place == [RING] else 0)


def test_a_ring_at_rest_has_no_shapes(tmp_path: Path) -> None:
    """Everything that is put into a constant is found, whatever the archive has seen besides."""
    wave_SC = np.sin(np.arange(1024) / 6).astype(np.float32)[:, None]
    rest_SC = np.zeros((RING, 1), np.float32)
    archive = carried(Archive(), wave_SC, 0)
    made = train([History("x", ("c0",), rest_SC, 50_000, 1, archive=archive)], None, quick_settings(tmp_path))
    assert not made.memories.rows
    assert float(made.rows["blend"][0]) == 0


def test_states_stay_states_from_fit_to_fit(tmp_path: Path) -> None:
    """Rounding to two bytes makes no new values of a row that has few, however often it is carried on."""
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    rng = np.random.default_rng(0)
    state_SC = rng.choice([0.1, 3.0, 1_000_003.0], (6 * 1024, 1), p=[0.6, 0.3, 0.1]).astype(np.float32)
    archive = Archive()
    for lo in range(0, len(state_SC) - 2048, 1024):
        made = train(
            [History("x", ("c0",), state_SC[lo : lo + 2048], lo, 1, archive=archive)],
            None,
            quick_settings(tmp_path, shape_share=0.0),
        )
        [student] = store.read(*store.write(f"{lo}.safetensors", made.data()), [0], archives=True)
        archive = student.archive
    assert len(archive.until(3 * 1024))
    assert np.unique(archive.value_BSC).tolist() == np.unique(state_SC).tolist()


def test_a_fit_knows_what_it_carries(tmp_path: Path) -> None:
    """Nights that were noisy weeks ago are no surprise where the student carries some of them."""
    rng = np.random.default_rng(1)
    calm_SC, noisy_SC = (size * rng.normal(size=(RING, 1)).astype(np.float32) for size in (1.0, 6.0))
    archive = carried(Archive(), noisy_SC, 0)
    with_it = History("x", ("c0",), calm_SC, 50_000, 1, archive=archive)
    scales = [
        float(train([h], None, quick_settings(tmp_path, shape_share=0.0)).rows["scale"][0])
        for h in (history("x", calm_SC), with_it)
    ]
    assert scales[1] > 1.5 * scales[0]


def test_what_shapes_remember_stays_as_it_was_from_fit_to_fit(tmp_path: Path) -> None:
    """Gaps stay gaps and peaks stay peaks, however calm the rings are that come between."""
    store = ArtefactStore(str(tmp_path), tmp_path / "cache")
    rng = np.random.default_rng(2)
    calm_SC = (np.sin(np.arange(RING) / 6) + 0.05 * rng.normal(size=RING)).astype(np.float32)[:, None]
    long_SC = np.concatenate([calm_SC * 500, *[calm_SC] * 3])
    long_SC[100:140] = np.nan
    shapes = carried(Archive(), long_SC[:RING], 0)
    for fit in range(1, 4):
        ring_SC = long_SC[fit * RING : (fit + 1) * RING]
        made = train([History("x", ("c0",), ring_SC, fit * RING, 1, shapes=shapes)], None, quick_settings(tmp_path))
        name = f"v{fit}.safetensors"
        [student] = store.read(*store.write(name, made.data()), [0], archives=True)
        shapes = past_of(student)
    oldest_S = shapes.value_BSC[shapes.first_B.tolist().index(0), :, 0]
    np.testing.assert_array_equal(np.isnan(oldest_S), np.isnan(long_SC[:STRETCH, 0]))
    np.testing.assert_allclose(oldest_S, long_SC[:STRETCH, 0], rtol=5e-3, atol=0.5)


def test_a_student_that_has_lost_its_shapes_carries_their_past(tmp_path: Path) -> None:
    rest_SC = np.zeros((RING, 1), np.float32)
    shapes = carried(Archive(), rest_SC + 1, 0)
    made = train([History("x", ("c0",), rest_SC, 50_000, 1, shapes=shapes)], None, quick_settings(tmp_path))
    assert not len(made.memories)
    assert made.archives[0].first_B[0] == 0
