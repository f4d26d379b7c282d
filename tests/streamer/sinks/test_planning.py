"""Quiet hours, groups, rate limits and summaries; by hypothesis: nothing is lost, nothing is told twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from streamer.sinks.config import AlertmanagerTable, PagerDutyTable, SinkTable, SlackTable
from streamer.sinks.deliveries import Action, Delivery, Sent
from streamer.sinks.planning import NEVER, Message, Planner
from tests.streamer.sinks.samples import delivery, event, sent

NIGHT = 1_767_819_600.0  # 2026-01-07T21:00Z
DAY = NIGHT + 12 * 3_600
QUIET = {"from": "20:00", "to": "06:00"}


def chat(**fields: Any) -> Planner:
    table = SlackTable.model_validate({"type": "slack", "url": SecretStr("http://x"), "rate_limit": None, **fields})
    return planner(table)


def pager(**fields: Any) -> Planner:
    table = {"type": "pagerduty", "routing_key": SecretStr("k"), "rate_limit": None, **fields}
    return planner(PagerDutyTable.model_validate(table), stateful=True, acknowledges=True)


def planner(table: SinkTable, **how: Any) -> Planner:
    return Planner(table, **{"stateful": False, "batch": 1, "acknowledges": False, "repost_s": None, **how})


def some(count: int, severity: str = "warning", **fields: Any) -> list[Delivery]:
    return [delivery(event(f"{severity}-{n}", severity=severity, stream=f"s{n}", **fields)) for n in range(count)]


def send(made: Planner, messages: list[Message], now: float) -> None:
    """As the sending half does when all goes well."""
    for message in messages:
        for item in message.items:
            item.delivery.key = message.key if made.stateful and message.summary else item.delivery.key
            item.delivery.sent = Sent(item.revision, item.incident.severity, item.opens)
            if not item.opens:
                item.delivery.key = item.incident.incident_id
            item.delivery.settle(item.sent_up_to, now)
        if message.costs and made.bucket is not None:
            made.bucket.take(1)


def revise(made: Delivery, state: str, **fields: Any) -> None:
    """The next revision comes in."""
    newest = made.incident
    facts = {"stream": newest.stream, "severity": newest.severity, "labels": newest.labels, **fields}
    made.event = event(newest.incident_id, newest.revision + 1, state, **facts)


def test_one_message_an_incident() -> None:
    plan = chat().plan(some(3), DAY)
    assert [len(message.items) for message in plan.messages] == [1, 1, 1]
    assert [message.key for message in plan.messages] == ["warning-0", "warning-1", "warning-2"]


def test_what_has_nothing_to_tell_is_settled() -> None:
    made = delivery(event(revision=1, state="update"), sent=sent())
    plan = chat().plan([made], DAY)
    assert (plan.messages, plan.silent, plan.wake_at) == ([], [made], NEVER)


def test_quiet_hours_hold_all_but_critical() -> None:
    made = chat(quiet_hours=QUIET)
    everyone = [*some(1, "info"), *some(1, "warning"), *some(1, "critical")]
    plan = made.plan(everyone, NIGHT)
    assert [message.key for message in plan.messages] == ["critical-0"]
    assert plan.wake_at == NIGHT + 9 * 3_600
    send(made, plan.messages, NIGHT)
    assert len(made.plan(everyone, plan.wake_at).messages) == 2


def test_in_quiet_hours_the_end_of_a_critical_one_is_told_and_that_of_another_waits() -> None:
    made = chat(quiet_hours=QUIET)
    both = [*some(1, "critical"), *some(1, "info")]
    send(made, made.plan(both, DAY).messages, DAY)
    for one in both:
        revise(one, "resolved")
    assert [message.key for message in made.plan(both, NIGHT).messages] == ["critical-0"]


def test_in_quiet_hours_a_pager_is_told_of_ends_and_of_nothing_new() -> None:
    made = pager(quiet_hours=QUIET)
    [known] = some(1)
    send(made, made.plan([known], DAY).messages, DAY)
    revise(known, "resolved")
    [new] = some(1, "info")
    assert [m.items[0].action for m in made.plan([known, new], NIGHT).messages] == [Action.CLOSE]


def test_what_begins_and_ends_in_quiet_hours_is_told_once_afterwards() -> None:
    made = chat(quiet_hours=QUIET)
    [one] = some(1)
    assert made.plan([one], NIGHT).messages == []
    revise(one, "resolved")
    [message] = made.plan([one], DAY).messages
    assert message.items[0].action is Action.PASSED


def test_groups_wait_for_their_window_and_are_one_message() -> None:
    made = chat(group_by=["team", "severity"], group_wait="30s")
    web = [delivery(event(f"w{n}", labels={"team": "web"}), since=DAY + 10 * n) for n in range(3)]
    other = delivery(event("o"), since=DAY + 5)
    plan = made.plan([*web, other], DAY + 29)
    assert (plan.messages, plan.wake_at) == ([], DAY + 30)
    plan = made.plan([*web, other], DAY + 30)
    [message] = plan.messages
    assert (len(message.items), message.group) == (3, {"team": "web", "severity": "warning"})
    assert plan.wake_at == DAY + 35
    send(made, plan.messages, DAY + 30)
    assert [message.key for message in made.plan([*web, other], DAY + 35).messages] == ["o"]


def test_over_the_limit_the_rest_is_one_summary_and_the_worst_go_alone() -> None:
    made = chat(rate_limit={"messages": 3, "per": "1m"})
    everyone = [*some(10, "info"), *some(1, "critical"), *some(1, "warning")]
    plan = made.plan(everyone, DAY)
    assert [(message.key, message.summary) for message in plan.messages[:2]] == [
        ("critical-0", False),
        ("warning-0", False),
    ]
    assert (len(plan.messages), len(plan.messages[2].items), plan.messages[2].summary) == (3, 10, True)
    send(made, plan.messages, DAY)
    late = some(5, "critical", state="update")
    plan = made.plan(late, DAY + 1)
    assert (plan.messages, plan.wake_at) == ([], DAY + 20)
    [message] = made.plan(late, plan.wake_at).messages
    assert len(message.items) == 5


def test_ends_cost_a_pager_nothing() -> None:
    made = pager(rate_limit={"messages": 2, "per": "1h"})
    two = some(2)
    send(made, made.plan(two, DAY).messages, DAY)
    for one in two:
        revise(one, "resolved")
    assert [m.items[0].action for m in made.plan(two, DAY).messages] == [Action.CLOSE, Action.CLOSE]


def test_a_pagers_summary_ends_when_all_in_it_have() -> None:
    made = pager(rate_limit={"messages": 1, "per": "1h"})
    three = some(3)
    [summary] = made.plan(three, DAY).messages
    send(made, [summary], DAY)
    assert {one.key for one in three} == {summary.key} != {"warning-0"}
    revise(three[0], "resolved")
    revise(three[1], "update")
    plan = made.plan(three, DAY)
    assert plan.messages == []
    assert plan.silent == [three[1]]
    revise(three[1], "update", severity="critical")
    [worse] = made.plan(three, DAY).messages
    assert (worse.key, worse.items[0].action, len(worse.items)) == (summary.key, Action.UPDATE, 1)
    send(made, [worse], DAY)
    for one in three[1:]:
        revise(one, "resolved")
    [end] = made.plan(three, DAY).messages
    assert (end.key, end.items[0].action, len(end.items)) == (summary.key, Action.CLOSE, 3)
    send(made, [end], DAY)
    assert made.plan(three, DAY).messages == []


def test_a_summary_that_was_begun_before_a_crash_is_the_same_one_after_it() -> None:
    made = pager()
    three = some(3)
    for one in three[:2]:
        one.key = "begun"
    plan = made.plan(three, DAY)
    assert {(message.key, len(message.items)) for message in plan.messages} == {("begun", 2), ("warning-2", 1)}


def test_summaries_of_a_pager_keep_to_one_partition() -> None:
    made = pager(rate_limit={"messages": 1, "per": "1h"})
    parts = [delivery(event(f"i{n}", stream=f"s{n}"), partition=n % 2) for n in range(6)]
    [summary] = made.plan(parts, DAY).messages
    assert {item.delivery.partition for item in summary.items} == {0}
    send(made, [summary], DAY)
    plan = made.plan(parts, DAY + 1)
    assert (plan.messages, plan.wake_at) == ([], DAY + 3_600)


def test_reposts() -> None:
    table = AlertmanagerTable.model_validate({"type": "alertmanager", "url": "http://x"})
    made = planner(table, stateful=True, batch=2, repost_s=100.0)
    three = some(3)
    assert [len(message.items) for message in made.plan(three, DAY).messages] == [2, 1]
    send(made, made.plan(three, DAY).messages, DAY)
    for one in three:
        one.posted_at = DAY
    assert (made.plan(three, DAY + 99).messages, made.plan(three, DAY + 99).wake_at) == ([], DAY + 100)
    assert sum(len(message.items) for message in made.plan(three, DAY + 100).messages) == 3


def test_a_failed_one_waits_and_others_go() -> None:
    made = chat()
    two = some(2)
    two[0].failed(DAY)
    plan = made.plan(two, DAY)
    assert [message.key for message in plan.messages] == ["warning-1"]
    assert plan.wake_at == DAY + 2


STATES = st.sampled_from(["update", "resolved", "revised", "retracted"])


@pytest.mark.parametrize("kind", [chat, pager])
@given(data=st.data())
def test_nothing_is_lost_and_every_end_follows(kind: Any, data: st.DataObject) -> None:
    """Whatever comes in whatever order, crashes between an answer and our note of it included.

    In the end the server knows of each incident what is so.
    """
    limit = data.draw(st.integers(1, 3))
    grouped = {"group_by": [], "group_wait": "5s"} if kind is chat and data.draw(st.booleans()) else {}
    made = kind(rate_limit={"messages": limit, "per": "10s"}, quiet_hours=QUIET, **grouped)
    now = NIGHT - 3_600 * 2
    incidents = [
        delivery(
            event(f"i{n}", stream=f"s{n}", severity=data.draw(st.sampled_from(["info", "critical"]))), partition=n % 2
        )
        for n in range(data.draw(st.integers(1, 8)))
    ]
    server = Server()
    for _ in range(data.draw(st.integers(0, 12))):
        one = data.draw(st.sampled_from(incidents))
        revise(one, "revised" if one.closed else data.draw(STATES))  # late data may open it again
        if data.draw(st.booleans()):
            now += data.draw(st.sampled_from([1.0, 20.0, 3_600.0]))
            server.round(made, incidents, now, crash=data.draw(st.sampled_from([False, False, True])))
    for one in incidents:
        if not one.closed:
            revise(one, "resolved")
    for _ in range(200):
        now += 600.0
        server.round(made, incidents, now, crash=False)
    assert not any(one.pending or one.live for one in incidents)
    never = {one.incident.incident_id for one in incidents if one.sent is None}
    assert never <= {one.incident.incident_id for one in incidents if one.incident.state == "retracted"}
    assert server.open == {}


class Server:
    """What a server would believe: the incidents that it holds open, under the key that they came with."""

    def __init__(self) -> None:
        self.open: dict[str, set[str]] = {}
        self.crashed = False

    def round(self, made: Planner, incidents: list[Delivery], now: float, crash: bool) -> None:
        """Plan and send; with a crash the server has heard it, and we do not know. Nothing opens twice without one."""
        plan = made.plan(incidents, now)
        for one in plan.silent:
            one.settle(one.incident.revision, now)
        for message in plan.messages:
            for item in message.items:
                item.delivery.tried = True
                if item.action is Action.OPEN:
                    item.delivery.sent = None
                if made.stateful and message.summary:
                    item.delivery.key = message.key
            self.hear(made, message)
        costs = sum(message.costs for message in plan.messages)
        assert made.bucket is None or costs <= made.bucket.messages
        self.crashed |= crash
        if not crash:
            send(made, plan.messages, now)

    def hear(self, made: Planner, message: Message) -> None:
        """A pager ends what has the key; people are told of each incident by name."""
        names = {item.incident.incident_id for item in message.items}
        opening = {item.incident.incident_id for item in message.items if item.action is Action.OPEN}
        key = message.key if made.stateful else ""
        if not self.crashed:
            assert not opening & set().union(*self.open.values())
        if opening:
            self.open.setdefault(key, set()).update(opening)
        if made.stateful and all(item.action is Action.CLOSE for item in message.items):
            self.open.pop(key, None)
        if not made.stateful:
            ended = names - opening - {i.incident.incident_id for i in message.items if i.action is Action.UPDATE}
            self.open[key] = self.open.get(key, set()) - ended
            if not self.open[key]:
                del self.open[key]
