"""The pretrained blocks that stand where the paper has GPT-2's."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from torch import nn

from detector.model.teacher_weights import load_blocks, packaged, tiny_random
from detector.settings import PACKAGED_TEACHER
from trainer.fit.agreed import SEED
from trainer.paper.settings import PaperSettings

# What Hugging Face's models call learned positions: GPT-2, OPT.
_POSITIONS = ("wpe", "embed_positions")


class Trunk(NamedTuple):
    """Blocks in float32 and the mean norm of the embeddings they are used to."""

    model: nn.Module
    embedding_norm: float

    @property
    def hidden(self) -> int:
        """Width of its hidden states."""
        return int(self.model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def has_positions(self) -> bool:
        """Whether it learns positions, as GPT-2 does; rotary ones are no parameters."""
        return any(name.split(".")[-1] in _POSITIONS for name, _ in self.model.named_modules())

    def copied(self) -> nn.Module:
        """A copy of one's own, of which only layer norms and learned positions take gradients.

        The copy stays in evaluation mode: dropout would make teacher and student differ by chance.
        """
        model = copy.deepcopy(self.model).requires_grad_(False).eval()
        for name, module in model.named_modules():
            if "norm" in type(module).__name__.lower() or name.split(".")[-1] in _POSITIONS:
                module.requires_grad_(True)
        return model


def load_trunk(settings: PaperSettings) -> Trunk:
    """The trunk that settings ask for, loaded once a process. Raises TeacherError when it cannot be loaded."""
    return _loaded(settings.teacher, settings.paper_blocks, SEED, str(settings.state_dir))


@lru_cache(maxsize=1)
def _loaded(teacher: str, blocks: int, seed: int, state_dir: str) -> Trunk:
    if teacher == "random":
        return Trunk(*tiny_random(blocks, seed))
    source = str(packaged(Path(state_dir) / "teacher", blocks)) if teacher == PACKAGED_TEACHER else teacher
    return Trunk(*load_blocks(source, blocks))
