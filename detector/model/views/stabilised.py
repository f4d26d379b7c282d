"""Values on the scale on which their scatter is alike everywhere: y = c asinh(x / c), Burbidge et al. 1988.

Bytes, requests and latencies scatter by shares of what they are: on their own scale a band of them has room for less than
nothing below and for three times the most above. Well above the knee c this is a logarithm, below it the value itself, so
that zeros and negative values need no rule. A knee of 0 leaves everything as it is.
"""

import torch
from torch import Tensor

_MOST = 80.0  # exp of more is infinite in float32


def stabilised(x: Tensor, knee: Tensor) -> Tensor:
    """On the stabilised scale; `knee` fits the shape of `x`.

    >>> stabilised(torch.tensor([0.0, 1.0, 1e6]), torch.tensor(1.0)).tolist()
    [0.0, 0.8813735842704773, 14.508657455444336]
    """
    soft = torch.where(knee > 0, knee, 1.0)
    return torch.where(knee > 0, soft * torch.asinh(x / soft), x)


def restored(y: Tensor, knee: Tensor) -> Tensor:
    """Back on the values' own scale.

    >>> round(restored(stabilised(torch.tensor(5.0), torch.tensor(2.0)), torch.tensor(2.0)).item(), 5)
    5.0
    """
    soft = torch.where(knee > 0, knee, 1.0)
    return torch.where(knee > 0, soft * torch.sinh((y / soft).clamp(-_MOST, _MOST)), y)


def slope(x: Tensor, knee: Tensor) -> Tensor:
    """What a small difference between values is worth on the stabilised scale."""
    soft = torch.where(knee > 0, knee, 1.0)
    return torch.where(knee > 0, 1.0 / torch.hypot(x / soft, torch.ones_like(x)), 1.0)
