"""What is to be told of an incident, given what was told."""

import pytest

from streamer.sinks.deliveries import Action, Delivery, Sent
from tests.streamer.sinks.samples import delivery, event, sent

OVER = "2026-01-31T12:05:00Z"


def settled(revision: int, known: Sent | None, **fields: object) -> Delivery:
    return delivery(event(revision=revision, **fields), sent=known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "message_sink", "pager"),
    [
        # nothing told yet
        (settled(0, None), Action.OPEN, Action.OPEN),
        (settled(3, None, state="update"), Action.OPEN, Action.OPEN),
        (settled(3, None, state="revised"), Action.OPEN, Action.OPEN),
        (settled(1, None, state="resolved"), Action.PASSED, Action.OPEN),
        (settled(2, None, state="revised", ended_at=OVER), Action.PASSED, Action.OPEN),
        (settled(1, None, state="retracted"), None, None),
        # told, and open there
        (settled(1, sent(), state="update"), None, None),
        (settled(1, sent(), state="update", severity="critical"), Action.UPDATE, Action.UPDATE),
        (settled(1, sent(), state="revised"), Action.UPDATE, Action.UPDATE),
        (settled(1, sent(), state="revised", ended_at=OVER), Action.CLOSE, Action.CLOSE),
        (settled(1, sent(), state="resolved"), Action.CLOSE, Action.CLOSE),
        (settled(1, sent(), state="retracted"), Action.CLOSE, Action.CLOSE),
        # told, and closed there
        (settled(2, sent(1, open=False), state="revised", ended_at=OVER), Action.CORRECT, None),
        (settled(2, sent(1, open=False), state="retracted"), Action.CORRECT, None),
        (settled(2, sent(1, open=False), state="revised"), Action.OPEN, Action.OPEN),
    ],
)
def test_actions(made: Delivery, message_sink: Action | None, pager: Action | None) -> None:
    assert made.action(every_update=False, stateful=False) == message_sink
    assert made.action(every_update=False, stateful=True) == pager


def test_every_update_where_it_is_wanted() -> None:
    assert settled(1, sent(), state="update").action(every_update=True, stateful=False) is Action.UPDATE


def test_a_confirmed_incident_is_acknowledged_once() -> None:
    made = delivery(sent=sent(), settled=0, acknowledged=True)
    assert made.action(every_update=False, stateful=True) is Action.ACKNOWLEDGE
    made.sent = sent(acknowledged=True)
    assert made.action(every_update=False, stateful=True) is None
    made.sent = sent(open=False)
    assert made.action(every_update=False, stateful=True) is None


def test_what_was_worse_counts_in_quiet_hours() -> None:
    assert settled(1, sent(severity="critical"), state="resolved", severity="info").severity == "critical"


def test_settling() -> None:
    made = settled(1, sent(), state="resolved")
    made.attempts, made.retry_at = 3, 99.0
    made.settle(0, 50.0)  # an older revision was told while this one came in
    assert (made.pending, made.since, made.ended_at) == (True, 0.0, None)
    made.sent = sent(1, open=False)
    made.settle(1, 50.0)
    assert (made.pending, made.since, made.ended_at, made.attempts, made.retry_at) == (False, 50.0, 50.0, 0, 0.0)


def test_backoff_has_an_end() -> None:
    made = delivery()
    waits = []
    for _ in range(12):
        made.failed(1_000.0)
        waits.append(made.retry_at - 1_000.0)
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert waits[-1] == 300.0


def test_it_survives_a_restart() -> None:
    made = delivery(event(labels={"größe": "ü"}), since=1.5, sent=sent(memo={"labels": {"a": "b"}}))
    made.key = "k"
    assert Delivery.loads(made.dumps()) == made
    assert Delivery.loads(made.dumps().replace(b'"sent":', b'"told":')) == made  # as an earlier version kept it
    fresh = delivery()
    assert Delivery.loads(fresh.dumps()) == fresh
