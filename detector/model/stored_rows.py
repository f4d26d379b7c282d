"""How a student's rows are kept in a file: most numbers in two bytes, matrices that whiten as lower triangles."""

import torch
from torch import Tensor

# Most of a student's numbers; rounding them to half precision moves a score by less than the calibration's own error.
_HALF = ("tokens.", "ridge.", "proto.", "mahalanobis")
_TRIANGLE = ".white"  # what lies above is zero


def stored(name: str, value: Tensor) -> Tensor:
    """A table, rows in front, as it is written."""
    if name.endswith(_TRIANGLE):
        value = value[(slice(None), *torch.tril_indices(*value.shape[-2:]))]
    if value.is_floating_point():
        value = value.half() if name.startswith(_HALF) else value.float()
    return value.contiguous().cpu()


def restored(name: str, part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What was read of it, of which each row is to have that shape; as it is where it cannot be, and where format 5 has squares."""
    part = part.to(torch.float32)
    if not name.endswith(_TRIANGLE) or part.dim() != 2 or part.shape[1] != shape[0] * (shape[0] + 1) // 2:
        return part
    out = part.new_zeros(len(part), *shape)
    out[(slice(None), *torch.tril_indices(*shape))] = part
    return out
