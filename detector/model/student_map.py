"""What a student expects of the teacher's tokens of a window, and how far these are from it.

A student knows the tokens of its prototypes and a linear map from windows to tokens, one for each depth; fitting that
map is the distillation (arXiv 2401.15123, section 3; here ridge regression instead of a network).

Shapes: N windows, T points, D depths, O numbers of the teacher's tokens at one depth, F = 2T + 1 features of the map
"""

import torch
from torch import Tensor

INPUT_CLIP = 20.0  # standard deviations: what lies beyond is cut off before teacher and student see it


def residual(
    token_NDO: Tensor, anchor_NDO: Tensor, window_NT: Tensor, proto_NT: Tensor, ridge_NDFO: Tensor, spread_NDO: Tensor
) -> Tensor:
    """Teacher minus student (N, D, O), each output in units of its own spread.

    The student predicts the teacher's tokens from the nearest prototype's cached ones (`anchor`) and a linear map of
    (1, window − prototype, window).
    """
    predicted_NDO = anchor_NDO + (features(window_NT, proto_NT)[:, None, None] @ ridge_NDFO)[:, :, 0]
    return (token_NDO - predicted_NDO) / spread_NDO


def discrepancy(residual_NDO: Tensor) -> Tensor:
    """Root mean square (N, D) of what the student predicted wrongly."""
    return residual_NDO.square().mean(-1).sqrt()


def features(window_NT: Tensor, proto_NT: Tensor) -> Tensor:
    """Inputs of the student's ridge map, (…, 2T + 1)."""
    ones_N1 = torch.ones_like(window_NT[..., :1])
    clipped_NT = window_NT.clamp(-INPUT_CLIP, INPUT_CLIP)
    return torch.cat([ones_N1, clipped_NT - proto_NT, clipped_NT], -1)
