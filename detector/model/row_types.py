"""What rows of stacked tensors are."""

from torch import Tensor

Rows = dict[str, Tensor]  # name → (R, …); names and shapes as `Layout.row_fields` gives them
