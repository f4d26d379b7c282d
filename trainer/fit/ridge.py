"""The student's map to the teacher's tokens: ridge regressions of many rows and depths in one solve, cross-fitted.

Shapes: R rows (stream, channel), N windows, F features of the map, D depths, O numbers of the teacher's tokens at one
depth (where there is no D: at all depths, one after another), K folds
"""

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 0.1  # of the mean square of the features: 33 features are learnt from 56 windows without trouble
# Parts of the history, each measured by a map of the others. Of two, the maps know half as much as the one in force,
# and what they do not know is taken for normal: the discrepancies of new windows are then half as surprising as meant.
FOLDS = 8


class CrossFit(NamedTuple):
    """The map of all training windows, and what maps that have not seen a window's fold make of it."""

    ridge_RDFO: Tensor
    residual_RNDO: Tensor  # of every window


def cross_fit(feature_RNF: Tensor, target_RNDO: Tensor, train: int, fold_RN: Tensor) -> CrossFit:
    """Fit the map on the first `train` windows, and without each fold of them; every window is in one fold."""
    ridge_RDFO, folds = _ridges(feature_RNF[:, :train], target_RNDO[:, :train])
    predicted_RNDO = torch.zeros_like(target_RNDO)
    for k, without_RDFO in enumerate(folds):
        by_RNDO = torch.einsum("rxf,rdfo->rxdo", feature_RNF, without_RDFO)
        predicted_RNDO = torch.where(fold_RN[..., None, None] == k, by_RNDO, predicted_RNDO)
    return CrossFit(ridge_RDFO, target_RNDO - predicted_RNDO)


def ridge(feature_RNF: Tensor, target_RNDO: Tensor) -> Tensor:
    """Ridge maps (R, D, F, O) of all rows and depths in one solve."""
    gram_RFF, moment_RFO = feature_RNF.mT @ feature_RNF, feature_RNF.mT @ target_RNDO.flatten(2)
    return _solved(gram_RFF, moment_RFO, feature_RNF.shape[1], target_RNDO.shape[2])


def _ridges(feature_RNF: Tensor, target_RNDO: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The same of all windows, and without each fold of them."""
    many, depths = feature_RNF.shape[1], target_RNDO.shape[2]
    parts = (len(feature_RNF), FOLDS, many // FOLDS, -1)
    feature_RKNF = feature_RNF.reshape(parts)
    gram_RKFF = feature_RKNF.mT @ feature_RKNF
    moment_RKFO = feature_RKNF.mT @ target_RNDO.reshape(parts)
    gram_RFF, moment_RFO = gram_RKFF.sum(1), moment_RKFO.sum(1)
    fewer = many - many // FOLDS
    return _solved(gram_RFF, moment_RFO, many, depths), [
        _solved(gram_RFF - gram_RKFF[:, k], moment_RFO - moment_RKFO[:, k], fewer, depths) for k in range(FOLDS)
    ]


def _solved(gram_RFF: Tensor, moment_RFO: Tensor, windows: int, depths: int) -> Tensor:
    weight_R = gram_RFF.diagonal(dim1=-2, dim2=-1).mean(-1) * RIDGE + 1e-3 * windows
    gram_RFF = gram_RFF + weight_R[:, None, None] * torch.eye(gram_RFF.shape[-1], device=gram_RFF.device)
    found_RFO: Tensor = torch.linalg.solve(gram_RFF, moment_RFO)
    return found_RFO.reshape(*found_RFO.shape[:2], depths, -1).transpose(1, 2)
