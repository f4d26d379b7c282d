"""Faults by the hundred on three Apache Kafka brokers: `make chaos`, or `python -m bench.chaos` (a quarter of an hour).

Two of each worker in consumer groups, 200 streams; `--embedded` is the short form, of which `make test` runs one with fewer streams. Prints the figures
that docs/guarantees.md quotes, and ends with status 1 when anything differs from the undisturbed run.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog

from testkit.chaos.plan import LONG, SHORT, plan, scaled
from testkit.chaos.run import Report, Run
from testkit.chaos.scene import CHUNK
from testkit.chaos.servers import embedded, three_brokers

SHOWN = 50  # differences
STANDS_S = 30.0
FAULT_S = 15.0  # a fault and its pause at pace 1, in the busier of the two lanes


async def _main(given: argparse.Namespace, folder: Path) -> Report:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)

    if given.embedded:
        async with embedded(folder / "servers") as servers:
            run = Run(servers, folder, given.streams, 240, fixed=True, say=say, stands_s=STANDS_S)
            return await run.go(plan(given.seed, scaled(SHORT, given.faults or 30)), 1.5, emptied=True)
    faults = given.faults or 220
    live = round(faults / 2 * FAULT_S / given.round) * CHUNK
    async with three_brokers(folder / "servers") as servers:
        say("three brokers answer")
        rooms = ("streamer", "detector", "trainer")
        run = Run(
            servers, folder, given.streams, live, fixed=False, replication=3, rooms=rooms, say=say, stands_s=STANDS_S
        )
        return await run.go(plan(given.seed, scaled(LONG, faults), given.pace), given.round, emptied=True)


def _print(report: Report, seed: int) -> int:
    print(
        f"seed {seed}: {report.faults.total()} faults in {report.seconds / 60:.1f} minutes: {dict(report.faults.most_common())}"
    )
    print(
        f"incidents: {report.incidents}; events repeated byte for byte: {report.repeated}; Redis emptied: {report.emptied}"
    )
    print(
        f"longest standstill: {report.longest_s:.1f} s by the clock, {report.undisturbed_s:.1f} s without a fault in place"
    )
    for line in report.wrong[:SHOWN]:
        print(f"WRONG: {line}")
    print("all promises hold" if not report.wrong else f"{len(report.wrong)} PROMISES BROKEN")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedded", action="store_true", help="the short form, on the embedded broker")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--faults", type=int, default=0, help="default: 220, or 30 with --embedded")
    parser.add_argument("--pace", type=float, default=2.5, help="stretches faults and the pauses between them")
    parser.add_argument("--round", type=float, default=3.0, help="seconds for a record of every stream")
    parser.add_argument("--folder", type=Path, help="keep everything there, logs too; default: a temporary one")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.folder or Path(temporary)
        sys.exit(_print(asyncio.run(_main(arguments, place)), arguments.seed))
