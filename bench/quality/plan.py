"""Which work is done on which series."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.quality.ablations import ABLATIONS, COLD_STARTS
from bench.quality.baselines import BASELINES
from bench.quality.work import CODE, BaselineWork
from bench.steps import Step
from trainer.backtest.settings import RING, BacktestSettings
from trainer.backtest.sources import Item
from trainer.backtest.task import ROOMS, ROOT, Task, code_digest

LIVE = f"live, {RING} slots"
# Ablations and cold starts are run on every so many-th series of the larger sets: enough to tell, short enough to run.
LEFT_OUT = ("gecco", "smd")  # of both: a minute or more of fit a series
EVERY = {"ucr": 4, "smap": 6, "msl": 4, "wsd": 4, "asd": 3, "tods": 2, "aiops": 2}
# A stream that goes on learning is fitted every 4 096 slots and updated every 512. Where the dial can be told (30 false
# alerts expected), more of a set.
LIVE_EVERY = EVERY | {"smd": 3, "smap": 2, "aiops": 1, "wsd": 1}
# The paper profile takes about 50 s of a core a series: this many make some 12 minutes of two cores.
PAPER_EVERY = {"ucr": 8, "smap": 27, "msl": 14, "wsd": 17, "asd": 6, "tods": 8, "aiops": 6, "smd": 7}
PAPER_LEFT_OUT = ("gecco",)  # 140 000 test slots of its one series
PAPER: tuple[tuple[str, dict[str, str]], ...] = (
    ("product", {}),
    ("paper", {"profile": "paper"}),
    ("paper, tiny random teacher", {"profile": "paper", "teacher": "random"}),
)


def plan(sets: Mapping[str, Sequence[Item]], state_dir: Path, tables: Sequence[str]) -> list[Step]:
    """All steps of the wanted tables, what matters most first."""
    code = code_digest(ROOT / room for room in ROOMS)
    own = code_digest(Path(file) for file in CODE)
    default = BacktestSettings(state_dir=state_dir)
    steps: list[Step] = []
    for name, items in sets.items():
        steps.append(Step("main", "train", name, Task(default, code), items))
    for name, items in sets.items():
        steps.append(Step("main", str(RING), name, Task(default, code, RING), items))
    for baseline in BASELINES:
        for name, items in sets.items():
            steps.append(Step("baseline", baseline.name, name, BaselineWork(baseline.name, state_dir, own), items))
    for title, task in (
        ("once, all of it", Task(default, code)),
        (f"once, {RING} slots", Task(default, code, RING)),
        (LIVE, Task(default, code, RING, live=True)),
    ):
        for name, items in sets.items():
            steps.append(Step("live", title, name, task, items[:: LIVE_EVERY.get(name, 1)]))
    for title, overrides in PAPER:
        settings = BacktestSettings.model_validate({"state_dir": state_dir, **overrides})
        for name, items in sets.items():
            mine = [] if name in PAPER_LEFT_OUT else items[:: PAPER_EVERY.get(name, 1)]
            steps.append(Step("paper", title, name, Task(settings, code), mine))
    for share in COLD_STARTS:
        for name, items in sets.items():
            steps.append(Step("cold", f"{share:.0%}", name, Task(default, code, share=share), some(name, items)))
    for ablation in ABLATIONS:
        settings = BacktestSettings.model_validate({"state_dir": state_dir, **ablation.overrides})
        for name, items in sets.items():
            steps.append(Step("ablation", ablation.name, name, Task(settings, code), some(name, items)))
    return [step for step in steps if step.table in tables and step.items]


def some(data_set: str, items: Sequence[Item]) -> list[Item]:
    """The part of a set that ablations and cold starts are run on."""
    return [] if data_set in LEFT_OUT else list(items[:: EVERY.get(data_set, 1)])
