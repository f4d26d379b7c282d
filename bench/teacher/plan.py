"""Which settings are replayed on which series: one step a row of a table and data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.steps import Step
from bench.teacher import adapter, windows
from bench.teacher.work import Figures, Kinds
from trainer.backtest.settings import BacktestSettings
from trainer.backtest.sources import Item
from trainer.backtest.task import code_digest

SHARES = (0.02, 0.05, 0.1, 1.0)
# What would make the teacher worth its place (the targets it was given): found of UCR series at 5 % and at 100 % of the
# training part, and the share of the false alerts saved at equal recall.
TARGETS = {0.05: 0.05, 1.0: 0.02}
SAVED = 0.3
WIDE = (0.05, 0.1, 1.0)  # shares with twice as many series and all controls
NAME = "smollm2"
# The pretrained one and its controls: title → name of the teacher.
TEACHERS = {"pretrained": NAME, "shuffled": f"shuffled:{NAME}", "random trunk": f"trunk:{NAME}"}
ALWAYS: Mapping[str, Any] = {"teacher_evidence": False, "teacher_budget": 0.05}
NO_TEACHER: Mapping[str, Any] = {"teacher": "none"}
LONGEST = 40_000  # slots of a series: the whole page is to be had in an hour of one core
# Every so many-th of the series that are short enough.
EVERY = {"ucr": 5, "tods": 5, "wsd": 5}
FEWER = {"ucr": 10, "tods": 15, "wsd": 15}
SHORT, SHORT_EVERY = 9_000, 7  # of the row that asks the teacher of every window
CHANNELS = {"asd": 12, "smap": 27}
LONG_SCALES = {"scales": [8, 16, 64, 256], "teacher_scales": [256]}
BUDGETS = (0.01, 0.02, 0.05, 0.1)
# Teachers with a trained adapter: title → the blocks that it is trained around.
ADAPTED = {"adapter": NAME}
DEPTHS = ([1], [2], [3])


def plan(sets: Mapping[str, Sequence[Item]], state_dir: Path, code: str) -> list[Step]:
    """All steps. Results are named by what was asked, so that equal steps of several tables are done once."""
    steps: list[Step] = []

    def add(
        table: str, name: str, every: Mapping[str, int], window_changes: Mapping[str, Any], share: float = 1.0
    ) -> None:
        settings = BacktestSettings.model_validate({"state_dir": state_dir, **window_changes})
        make = Kinds if table == "kinds" else Figures
        for data_set, n in every.items():
            items = some(sets.get(data_set, ()), n, LONGEST)
            if items:
                steps.append(Step(table, name, data_set, make(settings, code, share), items))

    for share in sorted(SHARES, key=lambda share: share not in WIDE):
        # Elsewhere fewer series, and the nearest of the controls.
        table, every = f"share {share:.0%}", EVERY if share in WIDE else FEWER
        add(table, "none", every, NO_TEACHER, share)
        for title, name in TEACHERS.items():
            if title == "pretrained" or share in WIDE:
                add(table, f"{title}, by evidence", every, {"teacher": name}, share)
            if title != "random trunk" or share in WIDE:
                add(table, f"{title}, always", every, {"teacher": name, **ALWAYS}, share)
    for title, name in TEACHERS.items():
        add("kinds", title, FEWER, {"teacher": name})
    for budget in BUDGETS:
        for title in ("pretrained", "shuffled") if budget >= 0.05 else ("pretrained",):
            window_changes = {"teacher": TEACHERS[title], **ALWAYS, "teacher_budget": budget}
            add(f"budget {budget:.0%}", title, FEWER, window_changes)
    for title in ("none", "pretrained", "shuffled"):
        changes = NO_TEACHER if title == "none" else {"teacher": TEACHERS[title], **ALWAYS}
        add("long", title, FEWER, {**changes, **LONG_SCALES})
    add("depths", "none", FEWER, NO_TEACHER)
    add("depths", "none, 1024 medoids", FEWER, {**NO_TEACHER, "medoids": 1024})
    add("depths", "depths 1, 2", FEWER, {"teacher": NAME, **ALWAYS})
    for depths in DEPTHS:
        add("depths", f"depth {depths[0]}", FEWER, {"teacher": NAME, **ALWAYS, "teacher_depths": depths})
    short = [item for item in sets.get("ucr", ()) if item.slots <= SHORT][::SHORT_EVERY]
    for title in ("none", "pretrained", "shuffled"):
        window_changes = {"teacher": TEACHERS.get(title, "none"), **ALWAYS, "teacher_budget": 1.0}
        settings = BacktestSettings.model_validate({"state_dir": state_dir, **window_changes})
        steps.append(Step("budget 100%", title, "ucr", Figures(settings, code), short))
    add("channels", "none", CHANNELS, NO_TEACHER)
    add("channels", "pretrained, by evidence", CHANNELS, {"teacher": NAME})
    for title in ("pretrained", "shuffled"):
        add("channels", f"{title}, always", CHANNELS, {"teacher": TEACHERS[title], **ALWAYS, "teacher_budget": 0.01})
    add("adapter", "none", FEWER, NO_TEACHER)
    add("adapter", "pretrained, always", FEWER, {"teacher": NAME, **ALWAYS})
    for title in ADAPTED:
        folder = str(adapter_folder(state_dir, title))
        add("adapter", f"{title}, always", FEWER, {"teacher": folder, **ALWAYS})
        add("adapter", f"{title}, by evidence", FEWER, {"teacher": folder})
    return [step for step in steps if step.items]


def adapter_folder(state_dir: Path, title: str) -> Path:
    """Where a teacher with a trained adapter is; another one when what trains it has changed."""
    return state_dir / f"{title.replace(' ', '-')}-{code_digest([Path(adapter.__file__), Path(windows.__file__)])[:8]}"


def some(items: Sequence[Item], every: int, longest: int) -> list[Item]:
    """Every so many-th of the series that are short enough."""
    return [item for item in items if item.slots <= longest][::every]
