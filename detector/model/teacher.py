"""The teacher: the first blocks of a frozen language model map a window to tokens.

Pooled window → patches → fixed adapter (random, or that of the model's folder) → frozen blocks, not causal → hidden states before the final norm,
standardised per (token, dimension), token 0 left out (it carries the massive activations), projected to few numbers.

Shapes: N windows, T points of a window, J tokens, P points of a token, H hidden size, D depths
"""

import copy
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from detector.model.pooling import POINTS
from detector.model.student_map import INPUT_CLIP
from detector.settings import PACKAGED_TEACHER, ComputeSettings
from streamer.errors import AnomalyLLMError

log = structlog.get_logger(__name__)

# Random directions kept of each standardised token: norms of differences survive a random projection, and 8 of 576
# keep a student within tens of KB.
DIMS = 8
CHUNK = 256  # windows a forward pass: larger ones gain nothing on a CPU
GPU_CHUNK = 4096  # there a pass costs what starting its kernels costs until it is this large
_GENERIC = 512  # windows whose tokens give mean and standard deviation
_FASTER = 1.3  # a smaller dtype must be this much faster to be worth its noise
# Two threads of one process took 30 times as long as one where other processes wanted the cores as well. Who has more
# cores starts more processes.
THREADS = 1
_PROBE = 16  # windows of the measurement on a CPU: bfloat16 without hardware support is 90 times slower than float32


class TeacherError(AnomalyLLMError):
    """The teacher cannot be loaded; the message says which and what to do."""


@dataclass(frozen=True)
class TeacherSpec:
    """What makes a teacher, wherever it runs."""

    name: (
        str  # 'smollm2' (the offline package), a Hugging Face folder or id, 'random'; 'shuffled:' or 'trunk:' before it
    )
    depths: tuple[int, ...]  # blocks whose outputs are kept
    patch: int  # points a token
    seed: int  # of the random adapter and directions


class Teacher:
    """Frozen blocks with adapter and read-out; deterministic for its identity.

    `identity` names everything that changes the tokens: weights, depths, patch, seed. Students that were fitted with
    one teacher cannot be read with another.
    """

    def __init__(
        self,
        model: nn.Module,
        embedding_norm: float,
        depths: Sequence[int],
        patch: int,
        seed: int,
        device: torch.device,
        dtype: torch.dtype | None,
        adapter_PH: Tensor | None = None,
    ) -> None:
        """`dtype` None: measured; `adapter_PH` None: random. Raises TeacherError when the model has too few blocks."""
        self.depths = tuple(depths)
        self.patch = patch
        self.device = device
        self.outputs = (POINTS // patch - 1) * DIMS
        self._chunk = CHUNK if device.type == "cpu" else GPU_CHUNK
        self._model = model.eval().requires_grad_(False).to(device)
        self._blocks = _blocks_of(model, max(depths))
        hidden = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        generator = torch.Generator().manual_seed(seed)
        random_PH = torch.randn(patch, hidden, generator=generator) * embedding_norm / (patch * hidden) ** 0.5
        directions = torch.linalg.qr(torch.randn(hidden, DIMS, generator=generator)).Q
        # The seed shows in a random adapter; beside an adapter of the folder's own it shows in the directions only.
        self.identity = self._identify([random_PH] if adapter_PH is None else [adapter_PH, directions])
        adapter_PH = random_PH if adapter_PH is None else adapter_PH
        self.dtype = dtype or self._measured(adapter_PH.to(device))
        self._model.to(self.dtype)
        self._adapter_PH = adapter_PH.to(device, self.dtype)
        self._directions = directions.to(device)
        state_NDJH = self._hidden(_generic_windows(_GENERIC, seed).to(device))
        self._mean_DJH = state_NDJH.mean(0)
        # A dimension that hardly moves must not be blown up to unit size.
        std_DJH = state_NDJH.std(0)
        self._std_DJH = torch.maximum(std_DJH, 0.1 * std_DJH.mean((1, 2), keepdim=True))

    @torch.inference_mode()
    def tokens(self, window_NT: Tensor) -> Tensor:
        """The teacher's tokens of pooled, standardised windows (N, 16): float32 (N, depths, outputs)."""
        parts = [torch.zeros(0, len(self.depths), self.outputs, device=self.device)]
        for chunk_NT in torch.split(window_NT.to(self.device, torch.float32), self._chunk) if len(window_NT) else ():
            state_NDJH = (self._hidden(chunk_NT) - self._mean_DJH) / self._std_DJH
            parts.append((state_NDJH @ self._directions).flatten(2))
        return torch.cat(parts)

    @torch.inference_mode()
    def _hidden(self, window_NT: Tensor) -> Tensor:
        """Hidden states (N, D, J − 1, H) in float32."""
        patches_NJP = window_NT.clamp(-INPUT_CLIP, INPUT_CLIP).reshape(len(window_NT), POINTS // self.patch, self.patch)
        return self._forward(patches_NJP.to(self.dtype) @ self._adapter_PH)

    def _forward(self, embeds_NJH: Tensor) -> Tensor:
        found: dict[int, Tensor] = {}

        def keep(depth: int) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                found[depth] = output[0] if isinstance(output, tuple) else output

            return hook

        handles = [self._blocks[depth - 1].register_forward_hook(keep(depth)) for depth in self.depths]
        try:
            tokens = embeds_NJH.shape[1]
            # A mask of four dimensions is taken as it is; all zeros: every token sees every other.
            mask = torch.zeros(1, 1, tokens, tokens, device=embeds_NJH.device, dtype=embeds_NJH.dtype)
            self._model(inputs_embeds=embeds_NJH, attention_mask=mask, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack([found[depth][:, 1:].float() for depth in self.depths], 1)

    @torch.no_grad()  # not inference mode: a copy made there could not be converted outside of it
    def _measured(self, adapter_PH: Tensor) -> torch.dtype:
        """The dtype to run in: the smallest that pays on this device."""
        smaller = [torch.bfloat16] if self.device.type == "cpu" else [torch.bfloat16, torch.float16]
        probe = _PROBE if self.device.type == "cpu" else self._chunk  # a GPU is asked by the chunk
        embeds_NJH = _generic_windows(probe, 0).reshape(probe, -1, self.patch).to(self.device) @ adapter_PH
        exact = copy.deepcopy(self._model)  # what has been rounded stays so, also where float32 is found to be best
        best, best_s = torch.float32, self._seconds(embeds_NJH)
        for dtype in smaller:
            self._model.to(dtype)
            seconds = self._seconds(embeds_NJH.to(dtype), give_up_s=4 * best_s)
            if seconds * _FASTER < best_s:
                best, best_s = dtype, seconds
        self._model, self._blocks = exact, _blocks_of(exact, max(self.depths))
        log.info(
            "teacher dtype measured", dtype=str(best), device=str(self.device), windows_per_s=round(probe / best_s)
        )
        return best

    def _seconds(self, embeds_NJH: Tensor, give_up_s: float = float("inf")) -> float:
        best = float("inf")
        for _ in range(4):
            begin = time.perf_counter()
            self._forward(embeds_NJH)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            best = min(best, time.perf_counter() - begin)
            if best > give_up_s:
                break
        return best

    def _identify(self, drawn: Sequence[Tensor]) -> str:
        digest = hashlib.sha256(repr((self.depths, self.patch, DIMS, POINTS)).encode())
        for tensor in (*drawn, *_block_parameters(self._blocks)):
            digest.update(tensor.detach().flatten()[:64].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def load(spec: TeacherSpec, settings: ComputeSettings) -> Teacher:
    """The teacher of that name, on the device and in the numbers that settings ask for.

    Raises:
        TeacherError: package or folder missing, a model without enough blocks, a device that cannot be used.
    """
    from detector.model.teacher_controls import control_of
    from detector.model.teacher_weights import load_adapter, load_blocks, packaged, tiny_random

    deepest = max(spec.depths)
    device = device_of(settings)
    control, name = control_of(spec.name)
    if name == "random":
        model, norm = tiny_random(deepest, spec.seed)
    elif name == PACKAGED_TEACHER:
        model, norm = load_blocks(str(packaged(settings.state_dir / "teacher", deepest)), deepest)
    else:
        model, norm = load_blocks(name, deepest)
    if control is not None:
        control(model, spec.seed)
    dtype = None if settings.teacher_dtype == "auto" else getattr(torch, settings.teacher_dtype)
    if spec.name == "random" and dtype is None:
        dtype = torch.float32
    adapter_PH = load_adapter(name, spec.patch)
    return Teacher(model, norm, spec.depths, spec.patch, spec.seed, device, dtype, adapter_PH)


def device_of(settings: ComputeSettings) -> torch.device:
    """The device to compute on; from now on this process computes with `THREADS` threads. Raises TeacherError."""
    torch.set_num_threads(THREADS)
    name = settings.teacher_device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TeacherError(f"teacher device {name!r} cannot be used ({error}); try --teacher-device cpu") from error
    return device


def _blocks_of(model: nn.Module, deepest: int) -> nn.ModuleList:
    """The list of transformer blocks, whatever its name: model.layers, transformer.h, …"""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    longest = max(lists, key=len, default=nn.ModuleList())
    if len(longest) < deepest:
        raise TeacherError(f"the teacher has {len(longest)} blocks, depth {deepest} was asked for (--teacher-depths)")
    return longest


def _block_parameters(blocks: nn.ModuleList) -> Iterable[Tensor]:
    for block in blocks:
        yield from (parameter for _, parameter in sorted(block.named_parameters()))


def _generic_windows(count: int, seed: int) -> Tensor:
    """Windows (count, 16) of all sorts: waves, noise, walks, steps, spikes; each about unit size."""
    generator = torch.Generator().manual_seed(seed + 1)
    t_T = torch.linspace(0, 1, POINTS)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    noise_NT = torch.randn(count, POINTS, generator=generator)
    wave_NT = 1.4 * torch.sin(6.2832 * (uniform(0.2, 6.0) * t_T + uniform(0.0, 1.0)))
    walk_NT = noise_NT.cumsum(1) * 0.3
    step_NT = torch.where(t_T > uniform(0.0, 1.0), uniform(-2.0, 2.0), uniform(-2.0, 2.0))
    spike_NT = torch.exp(-(((t_T - uniform(0.0, 1.0)) * 12) ** 2)) * uniform(-4.0, 4.0)
    kinds = torch.stack([noise_NT, wave_NT, walk_NT, step_NT, spike_NT])
    kind_N = torch.arange(count) % len(kinds)
    return kinds[kind_N, torch.arange(count)] + uniform(0.0, 0.5) * torch.randn(count, POINTS, generator=generator)
