"""What is switched off or changed, one row of the ablation table each: name → settings of the backtest."""

from typing import Any, NamedTuple


class Ablation(NamedTuple):
    """`overrides` are fields of `trainer.backtest.settings.BacktestSettings`."""

    name: str
    overrides: dict[str, Any]


ABLATIONS: tuple[Ablation, ...] = (
    Ablation("default", {}),
    Ablation("16 prototypes", {"prototypes": 16}),
    Ablation("128 prototypes", {"prototypes": 128}),
    Ablation("no scale beyond 64", {"scales": [4, 16, 64]}),
    Ablation("one scale, 64", {"scales": [64], "teacher_scales": [64]}),
)
# Shares of the training part that are learnt from.
COLD_STARTS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
