"""Settings of the paper profile. What the paper's text or its code fixes is a constant of the module that uses it."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from detector.settings import PACKAGED_TEACHER
from trainer.settings import TrainerSettings

PATCH = 16  # slots a token, as published


class PaperSettings(TrainerSettings):
    """Which of the two detectors is replayed, and what the published one may cost."""

    profile: Literal["product", "paper"] = Field(
        "product", description="'product': what the workers run; 'paper': AnomalyLLM as published, for comparison"
    )
    # The published settings file is not to be had; 8 patches leave the teacher something to attend to.
    paper_window: int = Field(128, ge=32, le=1024, description="paper: slots of a window, a multiple of 16")
    # On one core three blocks take twice as long, and design finding 3 has shallow before deep.
    paper_blocks: int = Field(2, ge=1, description="paper: blocks of the LLM that are kept")
    paper_prototypes: int = Field(16, ge=1, description="paper: learnable prototypes a channel")
    paper_steps: int = Field(
        100, ge=1, description="paper: optimiser steps of a fit; the last ones count, none is chosen"
    )
    paper_batch: int = Field(
        32, ge=2, description="paper: normal windows a step (fewer of many channels), each scaled and jittered besides"
    )
    # The published lineage scores every fourth window; a slot in between has the score of the window before it.
    paper_stride: int = Field(4, ge=1, le=64, description="paper: slots from one scored window to the next")

    @field_validator("paper_window")
    @classmethod
    def _patches(cls, value: int) -> int:
        if value % PATCH:
            raise ValueError(f"paper_window must be a multiple of {PATCH}, the slots of a patch, e.g. 64 or 128")
        return value

    @model_validator(mode="after")
    def _teacher_of_paper(self) -> Self:
        if self.profile == "paper" and self.teacher == "none":
            if "teacher" in self.model_fields_set:
                raise ValueError(
                    "the paper profile is teacher against student: leave --teacher out (smollm2), or give a Hugging "
                    "Face folder or id; --teacher none goes with --profile product"
                )
            self.teacher = PACKAGED_TEACHER
        return self
