"""The paper's student (arXiv 2401.15123, section 3): a window beside its nearest prototype, through a small transformer.

Shapes: N windows, C channels, L slots of a window, M prototypes, Y tokens of prototype and window, D width
"""

import torch
from torch import Tensor, nn

from trainer.paper.settings import PATCH

FEATURES = 32  # numbers compared: the projection of the code that the paper's is built on
WIDTH = 64
LAYERS = 2  # "few": the student must not be able to do all that the teacher does
HEADS = 4
HEAD_WIDTH = 256  # of the student's read-out; half its input, as published, would be 14 000 at 55 channels
# A window flatter than this has no shape of its own; without a floor its noise is all that the student would see.
STD_FLOOR = 0.1


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
        shape_NCL = (x_NCL - x_NCL.mean(-1, keepdim=True)) / spread(x_NCL)
        unit_NCL = nn.functional.normalize(shape_NCL, dim=-1)
        unit_CML = nn.functional.normalize(self.prototype_CML, dim=-1)
        cosine_NC, index_NC = torch.einsum("ncl,cml->ncm", unit_NCL, unit_CML).max(-1)
        return cosine_NC, index_NC

    def forward(self, x_NCL: Tensor) -> Tensor:
        """Features (N, F)."""
        _, index_NC = self.nearest(x_NCL)
        proto_NCL = self.prototype_CML[torch.arange(x_NCL.shape[1], device=x_NCL.device), index_NC]
        # The prototype is seen from the window: a window that is only louder or higher still differs from it.
        mean_NC1, spread_NC1 = x_NCL.mean(-1, keepdim=True), spread(x_NCL)
        pair = torch.cat([(proto_NCL - mean_NC1) / spread_NC1, (x_NCL - mean_NC1) / spread_NC1], -1)
        patch = pair.reshape(-1, len(self.position_YD), PATCH)
        state_NYD = self.encoder(self.embedding(patch) + self.position_YD)
        own = state_NYD[:, len(self.position_YD) // 2 :].reshape(len(x_NCL), -1)
        features: Tensor = self.head(own)
        return nn.functional.normalize(features, dim=-1)


def spread(x_NCL: Tensor) -> Tensor:
    """Standard deviation (N, C, 1) of each channel of a window, with a floor."""
    return (x_NCL.var(-1, keepdim=True, unbiased=False) + STD_FLOOR**2).sqrt()
