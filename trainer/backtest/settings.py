"""Settings of a backtest: those of trainer and detector worker in one, so that a replay is what both would do."""

from pydantic import Field

from detector.live.settings import WorkerSettings
from streamer.settings import StreamerSettings
from trainer.paper.settings import PaperSettings

RING = int(StreamerSettings.model_fields["capacity"].default)  # slots that a live stream keeps by default
# What only servers need: a backtest talks to none.
LEFT_OUT = (
    "assignment", "bootstrap", "namespace", "no_data_min_s", "partitioner", "partitions", "redis_url", "replication",
    "store", "topic_prefix", "worker_name",
)  # fmt: skip


class BacktestSettings(PaperSettings, WorkerSettings):
    """Everything that fits, scores and opens incidents."""

    teacher: str = Field(
        "none",
        description="frozen LLM: 'none', 'smollm2' (offline), a Hugging Face folder or id, or 'random'",
    )
