"""A second device that is none: tensors that say they are on CUDA and are computed on the CPU.

An operation that mixes them with tensors of the CPU raises, as CUDA would; so does `.numpy()`. It finds what a machine
without a GPU cannot: values left on the wrong side. What a GPU computes it does not say.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class There(torch.Tensor):
    """A tensor on the second device; `here` is where its numbers are."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "There":
        """Wrap a tensor of the CPU."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device("meta"),
        )
        made.here = here
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """What it says."""
        return CUDA

    def __getitem__(self, key: Any) -> torch.Tensor:
        """A list of indices is copied to the device, as torch does."""
        return super().__getitem__(torch.tensor(key, device=CUDA) if isinstance(key, list) else key)

    def tolist(self) -> Any:
        """Its numbers: this one copies by itself."""
        return self.here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Every operation on one of them."""
        return _run(func, args, dict(kwargs or {}))


def _run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    base = func.name().split(".")[0]
    tensors = [value for value in _leaves((*args, *kwargs.values())) if isinstance(value, torch.Tensor)]
    some_there = any(isinstance(value, There) for value in tensors)
    if some_there and base not in ("aten::_to_copy", "aten::copy_"):
        mixed = [value for value in tensors if not isinstance(value, There) and value.dim() > 0]
        if base in _INDEXED:  # indices may be the CPU's
            values = [args[2]] if base != "aten::index" else []
            mixed = [value for value in (args[0], *values) if not isinstance(value, There) and value.dim() > 0]
        if mixed:
            raise RuntimeError(f"{func.name()} mixes devices: {[tuple(value.shape) for value in mixed]} are the CPU's")
    goes_there = isinstance(args[0], There) if base == "aten::copy_" else some_there
    if kwargs.get("device") is not None:
        goes_there = torch.device(kwargs["device"]).type in ("cuda", "meta")
    if "device" in kwargs:
        kwargs["device"] = CPU
    kwargs.pop("pin_memory", None)

    def bare(value: Any) -> Any:
        return value.here if isinstance(value, There) else value

    out = func(*_mapped(bare, args), **{name: _mapped(bare, value) for name, value in kwargs.items()})
    if base.endswith("_") and isinstance(args[0], torch.Tensor):
        return args[0]
    if "out" in kwargs or not goes_there:
        return kwargs.get("out", out)
    return _mapped(lambda value: There(value) if isinstance(value, torch.Tensor) else value, out)


# What operations take and give are tensors, numbers and rows of them: torch's own walk over any tree takes most of the time.
def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    return type(value)(_mapped(change, one) for one in value) if isinstance(value, list | tuple) else change(value)


class SecondDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it `device="cuda"` works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replaces what does not pass through operations."""
        super().__init__()  # type: ignore[no-untyped-call]
        make = torch.tensor

        def tensor(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
            made = make(data, *args, **kwargs)
            return There(made) if device is not None and torch.device(device).type == "cuda" else made

        def as_tensor(data: Any, dtype: torch.dtype | None = None, device: Any = None) -> torch.Tensor:
            if not isinstance(data, torch.Tensor):
                return tensor(data, dtype=dtype, device=device)
            return data.to(device=device, dtype=dtype)

        monkeypatch.setattr(torch, "tensor", tensor)
        monkeypatch.setattr(torch, "as_tensor", as_tensor)
        monkeypatch.setattr(torch.cuda, "_lazy_init", lambda *args: None)
        # Views of wrapped tensors do not go with it.
        monkeypatch.setattr(torch, "inference_mode", torch.no_grad)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every operation that makes a tensor of nothing."""
        return _run(func, args, dict(kwargs or {}))
