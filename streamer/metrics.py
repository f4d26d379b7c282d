"""What is measured while it happens, for Prometheus: histograms, and counters that no single worker's loop owns.

Base units, no label with a stream's name (a million of them would be a million series). What workers count anyway is in
streamer/host/reported.py. docs/metrics.md lists all of it.
"""

from prometheus_client import Counter, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every one, of which nobody asks anything

# From a tenth of a tick to a minute: a record takes some 10 ms when all is well, seconds under load.
_DELAYS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_RUNS_S = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

TURN = Histogram(
    "anomalyllm_turn_seconds",
    "One turn of a worker's loop: fetch, work, write, commit.",
    ["room"],
    buckets=(*_DELAYS_S, 600.0),
)
DELAY = Histogram(
    "anomalyllm_delay_seconds",
    "From a batch's oldest record (its own time stamp) to the batch being done.",
    ["room"],
    buckets=_DELAYS_S,
)
TRAINING_RUN = Histogram(
    "anomalyllm_trainer_run_seconds", "One run of the trainer, over all streams of a batch.", buckets=_RUNS_S
)
DEAD_LETTERS = Counter("anomalyllm_dead_letters", "Records buried in dead-letters.", ["topic", "reason"])
VERDICTS = Counter("anomalyllm_verdicts", "Verdicts of people on incidents, each counted once.", ["verdict"])

MEASURED = (TURN, DELAY, TRAINING_RUN, DEAD_LETTERS, VERDICTS)
