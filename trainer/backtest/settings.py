"""Settings of a backtest: those of trainer and detector worker in one, so that a replay is what both would do."""

from pydantic import Field

from detector.live.settings import WorkerSettings
from streamer.contracts import StreamSettings
from streamer.security import NO_SECURITY
from streamer.settings import StreamerSettings
from trainer.paper.settings import PaperSettings

RING = int(StreamerSettings.model_fields["capacity"].default)  # slots that a live stream keeps by default
LEAST = 64  # and at least
# What only servers need: a backtest talks to none.
LEFT_OUT = (
    "assignment", "bootstrap", "namespace", "no_data_min_s", "partitioner", "partitions", "redis_url", "replication",
    "store", "topic_prefix", "worker_name", *NO_SECURITY,
)  # fmt: skip


class BacktestSettings(PaperSettings, WorkerSettings):
    """Everything that fits, scores and opens incidents."""

    alerts_per_week: float | None = Field(
        None, gt=0, description="expected false alerts a week of each series; default .1"
    )

    teacher: str = Field(
        "none",
        description="frozen LLM: 'none', 'smollm2' (offline), a Hugging Face folder or id, or 'random'",
    )

    def of_stream(self) -> StreamSettings:
        """Settings of the stream that a series stands for."""
        return (
            StreamSettings() if self.alerts_per_week is None else StreamSettings(alerts_per_week=self.alerts_per_week)
        )
