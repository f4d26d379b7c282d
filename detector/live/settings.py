"""Settings of the detector worker: incidents, no-data, when to ask for training."""

from typing import Self

from pydantic import Field, model_validator

from detector.incidents.machine import BASELINE_SLOTS
from detector.settings import ComputeSettings


class WorkerSettings(ComputeSettings):
    """How the worker judges. What its students look at comes with them: it is a setting of the trainer's alone."""

    open_hits: int = Field(2, ge=1, description="an incident opens on so many surprising slots …")
    open_window: int = Field(3, ge=1, description="… among so many scored ones")
    quiet: int = Field(10, ge=1, description="scored slots below the closing threshold that end an incident")
    max_slots: int = Field(BASELINE_SLOTS, ge=16, description="an incident that lasts longer is a new baseline")
    warming: bool = Field(True, description="streams without a student alert, too: a generic prior judges them")
    fatigue: bool = Field(True, description="streams that alert far more often than asked for are judged more strictly")
    alerts_per_day: float | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="incidents announced in a day, of all streams of a tenant: the gravest and rarest. Default: all",
    )
    no_data_min_s: float = Field(5.0, ge=0.1, description="a shorter silence is never an incident")
    stride: int = Field(1, ge=1, description="only slots are scored whose number is a multiple of it")
    min_history: int = Field(256, ge=64, description="slots with data before a first training is asked for")
    refit_slots: int | None = Field(
        None, ge=64, description="new slots between fits once history is full; default: half the stream's capacity"
    )
    update_slots: int = Field(512, ge=64, description="new slots between prototype updates of a stream that is ready")

    @model_validator(mode="after")
    def _hits(self) -> Self:
        if self.open_hits > self.open_window:
            raise ValueError(f"open_hits {self.open_hits} cannot exceed open_window {self.open_window}")
        return self
