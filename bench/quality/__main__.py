"""Runs the quality benchmark and writes docs/benchmarks.md.

  python -m bench.quality [--data ../shared/data] [--jobs 2] [--tables main,baseline,live,paper,cold,ablation] [--only ucr,wsd]

Every series of every step has a result of its own under --state; a run that was cut off goes on where it stopped.
"""

import argparse
import os
import time
from pathlib import Path

from bench.quality.page import Rows, write
from bench.quality.plan import data_sets, plan
from bench.steps import carry_out
from streamer.host.logs import configure_logs

TABLES = ("main", "baseline", "live", "paper", "cold", "ablation")


def main() -> None:
    """All steps, then the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANOMALYLLM_DATA", "../shared/data")))
    parser.add_argument("--state", type=Path, default=Path(".state/quality"))
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--only", default="", help="data sets, by comma; default: all")
    arguments = parser.parse_args()
    sets = data_sets(arguments.data)
    chosen = arguments.only.split(",") if arguments.only else list(sets)
    sets = {name: items for name, items in sets.items() if name in chosen}
    if not sets:
        parser.error(f"no data set with an index.json under {arguments.data}: set ANOMALYLLM_DATA or --data")
    steps = plan(sets, arguments.state, arguments.tables.split(","))
    # stumpy's kernels would take all cores in every process
    os.environ["NUMBA_NUM_THREADS"] = "1"
    configure_logs(level="warning")
    begun = time.monotonic()
    done = carry_out(steps, arguments.jobs)
    write(arguments.page, Rows(done), time.monotonic() - begun)


if __name__ == "__main__":
    main()
