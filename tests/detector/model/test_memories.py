"""Memories keep to their rows, however they are cut and joined."""

import torch

from detector.model.memories import Memories


def _of(at: list[int], first: float) -> Memories:
    rows = {"shape.weight": torch.arange(len(at)).float()[:, None] + first}
    return Memories(at, rows, [torch.full((5 + row,), first) for row in at])


def test_cut_and_join_are_each_other_s_inverse() -> None:
    whole = Memories.joined([_of([1, 3], 0.0), Memories(), _of([0], 10.0)], [4, 2, 1])
    assert whole.at == [1, 3, 6]
    assert [len(history) for _, history in whole] == [6, 8, 5]
    assert whole.rows["shape.weight"][:, 0].tolist() == [0.0, 1.0, 10.0]
    part = whole.of(3, 7)
    assert part.at == [0, 3]
    assert part.rows["shape.weight"][:, 0].tolist() == [1.0, 10.0]
    again = Memories.joined([whole.of(0, 3), part], [3, 4])
    assert again.at == whole.at


def test_none_is_none() -> None:
    nothing = Memories.joined([Memories(), Memories()], [3, 2])
    assert len(nothing) == len(nothing.of(0, 5)) == 0
    assert nothing.flat()["history"].shape == (0,)
