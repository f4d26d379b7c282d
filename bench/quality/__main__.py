"""Runs the quality benchmark and writes docs/benchmarks.md.

  python -m bench.quality [--data ../shared/data] [--jobs 2] [--tables main,baseline,live,paper,cold,ablation,operations] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import os
import time
from pathlib import Path

from bench.arguments import chosen_sets, parser
from bench.quality import operations
from bench.quality.page import Rows, write
from bench.quality.plan import plan
from bench.steps import carry_out
from streamer.host.logs import configure_logs

TABLES = ("main", "baseline", "live", "paper", "cold", "ablation", operations.TABLE)


def main() -> None:
    """All steps, then the page."""
    options = parser(__doc__, "quality", "docs/benchmarks.md", 2)
    options.add_argument("--operations", type=Path, default=Path("../shared/opsbench/opsbench.py"))
    arguments = options.parse_args()
    sets = chosen_sets(options, arguments)
    wanted = arguments.tables.split(",") if arguments.tables else TABLES
    tool = arguments.operations if operations.TABLE in wanted and arguments.operations.exists() else None
    steps = plan(sets, arguments.state, wanted)
    if tool is not None:
        steps += operations.steps(tool, arguments.state)
    # stumpy's kernels would take all cores in every process
    os.environ["NUMBA_NUM_THREADS"] = "1"
    configure_logs(level="warning")
    begun = time.monotonic()
    done = carry_out(steps, arguments.jobs)
    paged = "" if tool is None else operations.table(tool, arguments.state, done)
    write(
        arguments.page,
        Rows([pair for pair in done if pair[0].table != operations.TABLE]),
        time.monotonic() - begun,
        paged,
    )


if __name__ == "__main__":
    main()
