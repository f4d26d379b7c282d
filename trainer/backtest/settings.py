"""Settings of a backtest: those of trainer and detector worker in one, so that a replay is what both would do."""

from pydantic import Field

from detector.live.settings import WorkerSettings
from streamer.settings import StreamerSettings
from trainer.paper.settings import PaperSettings
from trainer.settings import TrainerSettings

RING = int(StreamerSettings.model_fields["capacity"].default)  # slots that a live stream keeps by default
# What only servers need (a backtest talks to none), and threads: each of its processes has one.
LEFT_OUT = (
    "assignment", "batch_ms", "batch_requests", "batch_wait_ms", "bootstrap", "namespace", "no_data_min_s",
    "partitioner", "partitions", "pending_s", "redis_url", "replication", "store", "threads", "topic_prefix",
    "worker_name",
)  # fmt: skip


class BacktestSettings(PaperSettings, TrainerSettings, WorkerSettings):
    """Everything that fits, scores and opens incidents."""

    teacher: str = Field(
        "none",
        description="frozen LLM: 'none', 'smollm2' (offline package), a Hugging Face folder or id, or 'random'",
    )
