"""Trimmed k-means of many rows at once."""

import torch

from trainer.fit.prototypes import kmeans


def _clusters(rows: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(rows, 4, 16, generator=generator) * 5
    label = torch.arange(400) % 4
    return centres, centres[:, label] + 0.1 * torch.randn(rows, 400, 16, generator=generator)


def test_finds_the_centres_and_their_radius() -> None:
    centres, windows = _clusters()
    found = kmeans(windows, 16, 4)
    nearest = torch.cdist(centres, found.proto_RPT).amin(-1)
    assert (nearest < 0.3).all()
    assert (found.used_RP.sum(-1) - 1).abs().max() < 1e-5
    members = found.used_RP > 0.02
    assert (found.radius_RP[members] < 0.2).all()


def test_the_worst_windows_pull_no_prototype() -> None:
    _, windows = _clusters()
    windows[:, :4] += 500.0
    found = kmeans(windows, 4, 4)
    ordinary = kmeans(_clusters()[1], 4, 4)
    # A prototype that starts on a bad window is left with no members; none is drawn half-way.
    alone = found.used_RP == 0
    assert (found.proto_RPT[~alone].abs().amax(-1) < 40).all()
    assert ordinary.proto_RPT.abs().max() < 40


def test_rows_do_not_influence_each_other_and_seeds_repeat() -> None:
    _, windows = _clusters()
    whole, alone = kmeans(windows, 8, 4), kmeans(windows[1:2], 8, 4)
    torch.testing.assert_close(whole.proto_RPT[1:2], alone.proto_RPT)
    torch.testing.assert_close(kmeans(windows, 8, 4).radius_RP, whole.radius_RP)


def test_fewer_windows_than_prototypes_repeat() -> None:
    windows = torch.randn(2, 5, 16)
    found = kmeans(windows, 32, 4)
    assert torch.isfinite(found.proto_RPT).all()
