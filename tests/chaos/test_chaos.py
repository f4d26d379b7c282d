"""Thirty faults in a minute while 200 streams flow: incidents, revisions and windows are those of an undisturbed run.

The short form of `make chaos`, on the embedded broker: that one keeps nothing over a kill and its groups do not take two
changes at a time, so that here two workers of each room share the partitions by hand, exchange them, and take them from
one that is frozen. Three brokers, their kills and groups that grow and shrink are `make chaos`'s.
"""

from pathlib import Path

import pytest

from testkit.chaos.plan import SHORT, plan
from testkit.chaos.run import Run
from testkit.chaos.servers import embedded


@pytest.mark.slow(80)
@pytest.mark.timeout(600)
async def test_thirty_faults_change_nothing(tmp_path: Path) -> None:
    async with embedded(tmp_path / "servers") as servers:
        run = Run(servers, tmp_path, streams=200, live=240, fixed=True)
        report = await run.go(plan(16, SHORT), pace_s=1.5, emptied=False)
    assert report.wrong == []
    assert report.faults.total() == 30
    assert report.incidents > 200
