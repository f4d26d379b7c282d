"""Runs the quality benchmark and writes docs/benchmarks.md.

  python -m bench.quality [--data ../shared/data] [--jobs 2] [--tables main,baseline,live,paper,cold,ablation] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import os
import time

from bench.arguments import chosen_sets, parser
from bench.quality.page import Rows, write
from bench.quality.plan import plan
from bench.steps import carry_out
from streamer.host.logs import configure_logs

TABLES = ("main", "baseline", "live", "paper", "cold", "ablation")


def main() -> None:
    """All steps, then the page."""
    options = parser(__doc__, "quality", "docs/benchmarks.md", 2)
    arguments = options.parse_args()
    sets = chosen_sets(options, arguments)
    steps = plan(sets, arguments.state, arguments.tables.split(",") if arguments.tables else TABLES)
    # stumpy's kernels would take all cores in every process
    os.environ["NUMBA_NUM_THREADS"] = "1"
    configure_logs(level="warning")
    begun = time.monotonic()
    done = carry_out(steps, arguments.jobs)
    write(arguments.page, Rows(done), time.monotonic() - begun)


if __name__ == "__main__":
    main()
