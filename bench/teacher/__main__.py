"""Replays series with the LLM, with its controls and without any, and writes docs/teacher.md.

  python -m bench.teacher [--data ../shared/data] [--jobs 1] [--tables share,long,...] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import time
from pathlib import Path

from rich.console import Console

from bench.arguments import chosen_sets, parser
from bench.steps import carry_out
from bench.teacher import work
from bench.teacher.adapter import Trained, adapted, left_over
from bench.teacher.page import write
from bench.teacher.plan import ADAPTED, adapter_folder, plan
from streamer.host.logs import configure_logs
from trainer.backtest.task import ROOMS, ROOT, code_digest


def main() -> None:
    """All steps, then the page."""
    options = parser(__doc__, "teacher", "docs/teacher.md", 1)
    arguments = options.parse_args()
    sets = chosen_sets(options, arguments)
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
