"""Controls of a claim about pretraining: the teacher with its shape and the size of its numbers, without what it knows.

`shuffled:NAME` keeps every tensor's numbers and forgets where they stood; `trunk:NAME` keeps their mean and spread
alone. Adapter, read-out and cost are those of NAME, so that a difference is owed to what was learnt on text.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Control = Callable[[nn.Module, int], None]


def control_of(name: str) -> tuple[Control | None, str]:
    """What is done to the weights (None: nothing), and the name of the teacher they come from."""
    kind, colon, rest = name.partition(":")
    return (CONTROLS[kind], rest) if colon and kind in CONTROLS else (None, name)


def shuffle(model: nn.Module, seed: int) -> None:
    """Permute the entries of every tensor, in place."""

    def permuted(value: Tensor, generator: torch.Generator) -> Tensor:
        return value.flatten()[torch.randperm(value.numel(), generator=generator)].reshape(value.shape)

    _each(model, seed, permuted)


def redraw(model: nn.Module, seed: int) -> None:
    """Draw every tensor anew from the normal distribution that has its mean and standard deviation, in place."""

    def drawn(value: Tensor, generator: torch.Generator) -> Tensor:
        spread = value.std(correction=0)
        return value.mean() + spread * torch.randn(value.shape, generator=generator)

    _each(model, seed, drawn)


CONTROLS: dict[str, Control] = {"shuffled": shuffle, "trunk": redraw}


@torch.no_grad()
def _each(model: nn.Module, seed: int, change: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        parameter.copy_(change(parameter, generator))
