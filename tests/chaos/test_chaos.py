"""Fifteen faults in a minute while 30 streams flow: incidents, revisions and windows are those of an undisturbed run.

One fault of each kind of the short form of `make chaos`, on the embedded broker: that one keeps nothing over a kill and its groups do not take two
changes at a time, so that here two workers of each room share the partitions by hand, exchange them, and take them from
one that is frozen. Three brokers, their kills and groups that grow and shrink are `make chaos`'s.
"""

from pathlib import Path

import pytest

from testkit.chaos.compare import Outcome, Reported, differences
from testkit.chaos.plan import LONG, SHORT, plan, scaled
from testkit.chaos.run import Run
from testkit.chaos.servers import embedded


@pytest.mark.slow(35)
async def test_fifteen_faults_change_nothing(tmp_path: Path) -> None:
    async with embedded(tmp_path / "servers") as servers:
        run = Run(servers, tmp_path, streams=30, live=160, fixed=True)
        report = await run.go(plan(16, dict.fromkeys(SHORT, 1), pace=0.7), pace_s=1.5, emptied=False)
    assert report.wrong == []
    assert report.faults.total() == 15
    assert report.incidents >= 30


def test_the_same_seed_gives_the_same_plan_with_faults_of_every_kind() -> None:
    made = plan(16, SHORT)
    assert made == plan(16, SHORT) != plan(17, SHORT)
    assert made.size == 30
    kinds = {f"{fault.kind} {fault.target}" for lane in plan(0, scaled(LONG, 40)) for fault in lane}
    assert kinds == set(LONG)


def test_what_differs_is_found() -> None:
    told = Reported("a", "anomaly", ((0, "open", 5), (1, "resolved", 9)), "warning", "then", "later", "returned")
    calm = Outcome({"x": told}, {"a": (1, "bytes")}, [], 0)
    assert differences(calm, calm._replace(repeated=3)) == []
    late = told._replace(revisions=((0, "open", 6), (1, "resolved", 9)))
    for other in (
        calm._replace(incidents={}),
        calm._replace(incidents={"x": late}),
        calm._replace(incidents={"x": told, "y": told}),
        calm._replace(windows={"a": (1, "other bytes")}),
        calm._replace(windows={}),
        calm._replace(wrong=["a revision was skipped"]),
    ):
        assert len(differences(calm, other)) == 1
