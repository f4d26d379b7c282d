"""Examples on disk: one safetensors file. They are training data, kept out of the repository."""

from dataclasses import asdict
from pathlib import Path

import orjson
from safetensors import safe_open
from safetensors.torch import save_file

from detector.gaphead import About, Seen
from trainer.gap.examples import Examples

_ROWS, _ABOUT = "rows", "about"


def write(path: Path, examples: Examples) -> None:
    """Keep examples."""
    tensors = {"form": examples.seen.form_NCT, "said": examples.seen.said_NV}
    tensors |= {"label": examples.label_N, "kind": examples.kind_N, "row": examples.row_N}
    if examples.seen.deep_NUJ is not None:
        tensors["deep"] = examples.seen.deep_NUJ
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {_ROWS: orjson.dumps(examples.rows).decode(), _ABOUT: orjson.dumps(asdict(examples.about)).decode()}
    save_file({n: t.contiguous() for n, t in tensors.items()}, path, header)


def read(path: Path) -> Examples:
    """Examples that were kept."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        tensor = {name: file.get_tensor(name) for name in names}
        rows = [(family, name) for family, name in orjson.loads(file.metadata()[_ROWS])]
        about = About.of(orjson.loads(file.metadata()[_ABOUT]))
    seen = Seen(tensor["form"], tensor["said"], tensor.get("deep"))
    return Examples(seen, tensor["label"], tensor["kind"], tensor["row"], rows, about)
