"""Teacher and student of the paper (arXiv 2401.15123, section 3): two networks that map a window to unit features.

Shapes: N windows, C channels, L slots of a window, J = L / PATCH tokens, H hidden size of the LLM, F features
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainer.paper.settings import PATCH
from trainer.paper.student import FEATURES, PaperStudent
from trainer.paper.trunk import Trunk


class PaperTeacher(nn.Module):
    """Patches of all channels → embedding → LLM blocks, causal → output projection → mean over tokens → unit length.

    Attention and MLP are frozen; embedding, positions, layer norms and output are learnt with the student.
    """

    def __init__(self, trunk: Trunk, channels: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(channels * PATCH, trunk.hidden)
        # standardised patches become embeddings of the size that the blocks know
        nn.init.normal_(self.embedding.weight, std=trunk.embedding_norm / (channels * PATCH * trunk.hidden) ** 0.5)
        nn.init.zeros_(self.embedding.bias)
        self.positions_JH = None if trunk.has_positions else nn.Parameter(torch.zeros(length // PATCH, trunk.hidden))
        self.trunk = trunk.copied()
        self.output = nn.Linear(trunk.hidden, FEATURES)

    def forward(self, x_NCL: Tensor) -> Tensor:
        """Features (N, F)."""
        patch = x_NCL.reshape(*x_NCL.shape[:2], -1, PATCH).transpose(1, 2).flatten(2)
        token_NJH = self.embedding(patch)
        if self.positions_JH is not None:
            token_NJH = token_NJH + self.positions_JH
        state_NJH = self.trunk(inputs_embeds=token_NJH, use_cache=False).last_hidden_state
        return nn.functional.normalize(self.output(state_NJH).mean(1), dim=-1)


class PaperModel(nn.Module):
    """Both, and what is between them."""

    def __init__(self, trunk: Trunk, prototypes: Tensor) -> None:
        super().__init__()
        self.teacher = PaperTeacher(trunk, prototypes.shape[0], prototypes.shape[-1])
        self.student = PaperStudent(prototypes)
        self.eval()  # no part of either has a training mode: the same window has the same features always

    def learnt(self) -> Iterator[nn.Parameter]:
        """The parameters that a fit changes."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def forward(self, x_NCL: Tensor) -> tuple[Tensor, Tensor]:
        """Features of teacher and student (N, F), of unit length."""
        return self.teacher(x_NCL), self.student(x_NCL)


def gap(teacher_NF: Tensor, student_NF: Tensor) -> Tensor:
    """‖t − s‖ (N,), 0 to 2."""
    # the root has no gradient at 0, where a student knows its teacher by heart
    return ((teacher_NF - student_NF).square().sum(-1) + 1e-8).sqrt()
