"""What is switched off or changed, one row of the ablation table each: name → settings of the backtest."""

from typing import Any, NamedTuple


class Ablation(NamedTuple):
    """`overrides` are fields of `trainer.backtest.settings.BacktestSettings`."""

    name: str
    overrides: dict[str, Any]


ABLATIONS: tuple[Ablation, ...] = (
    Ablation("default", {}),
    Ablation("plain views and prototypes alone, no shapes", {"shape_share": 0.0}),
    Ablation("shapes alone where there is evidence", {"shape_rest": 0.0}),
    Ablation("evidence weights off", {"shape_sharpness": 0, "shapes": 36}),
    Ablation("all 36 shape views", {"shapes": 36}),
    Ablation("4 shape views", {"shapes": 4}),
    Ablation("64 medoids", {"medoids": 64}),
    Ablation("1024 medoids", {"medoids": 1024}),
    Ablation("16 prototypes", {"prototypes": 16}),
    Ablation("128 prototypes", {"prototypes": 128}),
)
# Shares of the training part that are learnt from.
COLD_STARTS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
