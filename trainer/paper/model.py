"""Teacher and student of the paper (arXiv 2401.15123, section 3): two networks that map a window to unit features.

Shapes: N windows, C channels, L slots, J = L / PATCH tokens, P slots of a patch, H hidden size of the LLM, D width of
the student, M prototypes, F features; X rows (window, channel), Y = 2 J tokens of prototype and window.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainer.paper.settings import PATCH
from trainer.paper.trunk import Trunk

FEATURES = 32  # numbers compared: the projection of the code that the paper's is built on
WIDTH = 64
LAYERS = 2  # "few": the student must not be able to do all that the teacher does
HEADS = 4
HEAD_WIDTH = 256  # of the student's read-out; half its input, as published, would be 14 000 at 55 channels
# A window flatter than this has no shape of its own; without a floor its noise is all that the student would see.
STD_FLOOR = 0.1


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
        patch_NJX = x_NCL.reshape(*x_NCL.shape[:2], -1, PATCH).transpose(1, 2).flatten(2)
        token_NJH = self.embedding(patch_NJX)
        if self.positions_JH is not None:
            token_NJH = token_NJH + self.positions_JH
        state_NJH = self.trunk(inputs_embeds=token_NJH, use_cache=False).last_hidden_state
        return nn.functional.normalize(self.output(state_NJH).mean(1), dim=-1)


class PaperStudent(nn.Module):
    """Each channel's window beside its nearest prototype → small transformer → read-out over all channels.

    Channels share the transformer and do not see each other before the read-out; prototypes are a channel's own.
    """

    def __init__(self, prototype_CML: Tensor) -> None:
        """Prototypes begin as these windows."""
        super().__init__()
        channels, _, length = prototype_CML.shape
        tokens = length // PATCH
        self.prototype_CML = nn.Parameter(prototype_CML.clone())
        self.embedding = nn.Linear(PATCH, WIDTH)
        self.position_YD = nn.Parameter(0.02 * torch.randn(2 * tokens, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.Linear(channels * tokens * WIDTH, HEAD_WIDTH), nn.ReLU(), nn.Linear(HEAD_WIDTH, FEATURES)
        )

    def nearest(self, x_NCL: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine (N, C) of each channel's own shape to its nearest prototype, and which one (N, C)."""
        shape_NCL = (x_NCL - x_NCL.mean(-1, keepdim=True)) / _spread(x_NCL)
        unit_NCL = nn.functional.normalize(shape_NCL, dim=-1)
        unit_CML = nn.functional.normalize(self.prototype_CML, dim=-1)
        cosine_NC, index_NC = torch.einsum("ncl,cml->ncm", unit_NCL, unit_CML).max(-1)
        return cosine_NC, index_NC

    def forward(self, x_NCL: Tensor) -> Tensor:
        """Features (N, F)."""
        _, index_NC = self.nearest(x_NCL)
        proto_NCL = self.prototype_CML[torch.arange(x_NCL.shape[1], device=x_NCL.device), index_NC]
        # The prototype is seen from the window: a window that is only louder or higher still differs from it.
        mean_NC1, spread_NC1 = x_NCL.mean(-1, keepdim=True), _spread(x_NCL)
        pair_NCX = torch.cat([(proto_NCL - mean_NC1) / spread_NC1, (x_NCL - mean_NC1) / spread_NC1], -1)
        patch_XYP = pair_NCX.reshape(-1, len(self.position_YD), PATCH)
        state_XYD = self.encoder(self.embedding(patch_XYP) + self.position_YD)
        own_NX = state_XYD[:, len(self.position_YD) // 2 :].reshape(len(x_NCL), -1)
        features_NF: Tensor = self.head(own_NX)
        return nn.functional.normalize(features_NF, dim=-1)


class PaperModel(nn.Module):
    """Both, and what is between them."""

    def __init__(self, trunk: Trunk, prototype_CML: Tensor) -> None:
        super().__init__()
        self.teacher = PaperTeacher(trunk, prototype_CML.shape[0], prototype_CML.shape[-1])
        self.student = PaperStudent(prototype_CML)
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


def _spread(x_NCL: Tensor) -> Tensor:
    return (x_NCL.var(-1, keepdim=True, unbiased=False) + STD_FLOOR**2).sqrt()
