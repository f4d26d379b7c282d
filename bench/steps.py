"""What a benchmark does step by step: one row of one table for one data set, all series of it, resumable."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trainer.backtest.runner import Row, Work, longest_first, run
from trainer.backtest.sources import Item


@dataclass(frozen=True)
class Step:
    """One row of one table, for one data set."""

    table: str
    name: str
    data_set: str
    work: Work
    items: Sequence[Item]


def carry_out(steps: Sequence[Step], jobs: int) -> list[tuple[Step, list[Row]]]:
    """One pool of processes for all steps; prints each when it is done."""
    console = Console(stderr=True)
    pairs = [(at, item) for at, step in enumerate(steps) for item in longest_first(step.items)]
    left = Counter(at for at, _ in pairs)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        todo = bar.add_task("series", total=len(pairs))

        def on_done(index: int, row: Row) -> None:
            at, _ = pairs[index]
            step = steps[at]
            left[at] -= 1
            title = f"{at + 1}/{len(steps)} {step.table} {step.name} {step.data_set}"
            bar.update(todo, advance=1, description=title)
            if "error" in row:
                bar.console.print(f"[red]{title}, {row['name']}: {row['error']}")
            if not left[at]:
                bar.console.print(f"{title}: {len(step.items)} series", highlight=False)

        rows = run([(item, steps[at].work) for at, item in pairs], jobs, on_done)
    done = {(at, item.name): row for (at, item), row in zip(pairs, rows, strict=True)}
    return [(step, [done[at, item.name] for item in step.items]) for at, step in enumerate(steps)]
