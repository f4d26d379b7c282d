"""Settings of the detector worker: batching, incidents, no-data, when to ask for training."""

from typing import Self

from pydantic import Field, model_validator

from detector.settings import DetectorSettings


class WorkerSettings(DetectorSettings):
    """What the worker needs beside teacher and bank settings (the trainer shares those, not these)."""

    batch_windows: int = Field(4096, ge=1, description="slots scored in one call, at most")
    batch_ms: int = Field(25, ge=1, description="how long a fetch may wait for more")
    stride: int = Field(1, ge=1, description="slots are scored whose number is a multiple of it")
    slack: int = Field(256, ge=16, description="slots beyond the context kept in memory, to judge late points again")
    open_hits: int = Field(2, ge=1, description="an incident opens on so many surprising slots …")
    open_window: int = Field(3, ge=1, description="… among so many scored ones")
    quiet: int = Field(10, ge=1, description="scored slots below the closing threshold that end an incident")
    warming: bool = Field(True, description="streams without a student alert, too: a generic prior judges them")
    fatigue: bool = Field(
        True, description="a stream that alerts far more often than its dial allows is judged more strictly"
    )
    update_every: int = Field(64, ge=1, description="scored slots until an open incident is told again, then doubled")
    max_slots: int = Field(1024, ge=16, description="an incident that lasts longer is a new baseline")
    no_data_min_s: float = Field(5.0, ge=0.1, description="a shorter silence is never an incident")
    min_history: int = Field(256, ge=64, description="slots with data before a stream's first training is asked for")
    refit_slots: int | None = Field(
        None, ge=64, description="new slots between fits once history is full; default: half the stream's capacity"
    )
    update_slots: int = Field(512, ge=64, description="new slots between prototype updates of a stream that is ready")
    pending_s: float = Field(60.0, gt=0, description="an unanswered training request is repeated after this, then 2x")

    @model_validator(mode="after")
    def _hits(self) -> Self:
        if self.open_hits > self.open_window:
            raise ValueError(f"open_hits {self.open_hits} cannot exceed open_window {self.open_window}")
        return self
