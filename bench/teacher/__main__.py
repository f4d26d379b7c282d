"""Replays series with the LLM, with its controls and without any, and writes docs/teacher.md.

  python -m bench.teacher [--data ../shared/data] [--jobs 1] [--tables share,long,...] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import argparse
import os
import time
from pathlib import Path

from rich.console import Console

from bench.quality.plan import data_sets
from bench.steps import carry_out
from bench.teacher import work
from bench.teacher.adapter import Trained, adapted, left_over
from bench.teacher.page import write
from bench.teacher.plan import ADAPTED, adapter_folder, plan
from streamer.host.logs import configure_logs
from trainer.backtest.task import ROOMS, ROOT, code_digest


def main() -> None:
    """All steps, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--state", type=Path, default=Path(".state/teacher"))
    parser.add_argument("--page", type=Path, default=Path("docs/teacher.md"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tables", default="", help="first words of tables, by comma; default: all")
    parser.add_argument("--only", default="", help="data sets, by comma; default: all")
    arguments = parser.parse_args()
    sets = data_sets(arguments.data)
    if arguments.only:
        sets = {name: items for name, items in sets.items() if name in arguments.only.split(",")}
    if not sets:
        parser.error(f"no data set with an index.json under {arguments.data}: set ANOMALYLLM_DATA or --data")
    code = code_digest([*(ROOT / room for room in ROOMS), Path(work.__file__)])
    steps = plan(sets, arguments.state, code)
    if arguments.tables:
        steps = [step for step in steps if step.table.split()[0] in arguments.tables.split(",")]
    configure_logs(level="warning")
    begun = time.monotonic()
    trained: dict[str, Trained] = {}
    if any(step.table == "adapter" for step in steps):
        replayed = {(step.data_set, item.name) for step in steps for item in step.items}
        for title, name in ADAPTED.items():
            folder = adapter_folder(arguments.state, title)
            trained[title] = adapted(name, folder, left_over(sets, replayed), arguments.state)
            Console(stderr=True).print(f"{title}: {trained[title]}", highlight=False)
    done = carry_out(steps, arguments.jobs)
    write(arguments.page, done, trained, time.monotonic() - begun)


if __name__ == "__main__":
    main()
