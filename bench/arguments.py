"""Arguments that both benchmarks with a page have, and the data sets that they name."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from trainer.backtest.sources import Item, items_of
from trainer.backtest.tables import Reading


def parser(description: str | None, name: str, page: str, jobs: int) -> argparse.ArgumentParser:
    """Data, state, page, processes, tables and data sets; `name` is that of the folder of results."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    made.add_argument("--state", type=Path, default=Path(".state") / name)
    made.add_argument("--page", type=Path, default=Path(page))
    made.add_argument("--jobs", type=int, default=jobs)
    made.add_argument("--tables", default="", help="first words of tables, by comma; default: all")
    made.add_argument("--only", default="", help="data sets, by comma; default: all")
    return made


def data_sets(root: Path) -> dict[str, list[Item]]:
    """Every folder that has an index."""
    found = {p.parent.name: items_of(p.parent, Reading()) for p in sorted(root.glob("*/index.json"))}
    return dict(sorted(found.items(), key=lambda pair: (pair[0] != "ucr", pair[0])))


def chosen_sets(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Sequence[Item]]:
    """The data sets that `--data` and `--only` name; ends the program with a sentence when there is none."""
    only = arguments.only.split(",") if arguments.only else None
    sets = {name: items for name, items in data_sets(arguments.data).items() if only is None or name in only}
    if not sets:
        parser.error(f"no data set with an index.json under {arguments.data}: set ANOMALYLLM_DATA or --data")
    return dict(sets)
