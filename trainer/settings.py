"""Settings of the trainer worker. What a student looks at, and with which teacher, is decided here and nowhere else.

Artefacts carry it, so that a detector scores whatever student it is given.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from detector.settings import PACKAGED_TEACHER, ComputeSettings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
# A detector holds about 3 000 slots of a stream in memory: two seasons of a day of minutes.
LONGEST_SCALE = 2048


class TrainerSettings(ComputeSettings):
    """How students are made, and which of them may be put into force."""

    teacher: str = Field(
        PACKAGED_TEACHER,
        description="frozen LLM: 'smollm2' (offline package), a Hugging Face folder or id, or 'none'; for comparison "
        "'shuffled:' or 'trunk:' before its name (the same without what it has learnt) or 'random' (tiny)",
    )
    teacher_evidence: bool = Field(
        True,
        description="the LLM counts only in streams where it finds injected anomalies that other views miss; off: in all",
    )
    teacher_budget: Literal["auto"] | Share = Field(
        "auto",
        description="share of a stream's normal windows, the most surprising, that may reach the LLM; "
        "'auto': 0.02 on a CPU, all on CUDA",
    )
    teacher_depths: list[int] = Field([1, 2], description="blocks of the LLM whose outputs become views")
    teacher_scales: list[int] = Field([64], description="window scales (slots) that the LLM looks at")
    teacher_patch: int = Field(2, ge=1, le=16, description="pooled points a token of the LLM; divides 16")
    scales: list[int] = Field([8, 16, 64], description="window lengths of the prototype views, in slots")
    prototypes: int = Field(32, ge=2, le=1024, description="normal windows kept per channel and scale")
    shapes: int = Field(12, ge=1, le=36, description="shape views kept per channel, by their evidence")
    medoids: int = Field(256, ge=8, le=4096, description="windows of its history that a shape view remembers")
    shape_share: float = Field(
        1.0, ge=0, le=1, description="weight of the shape memory in a stream that is all shapes; 0: no shape memory"
    )
    # The next two have been chosen for good; `bench/quality` turns them to show what they are worth.
    shape_rest: float = Field(
        2.0, ge=0, le=12, description="surprise beside it, without shapes, that still counts in such a stream"
    )
    shape_sharpness: int = Field(
        3, ge=0, le=8, description="exponent of the evidence that weighs shape views; 0: all kept views alike"
    )
    min_slots: int = Field(128, ge=64, description="slots with data below which a stream is not fitted")
    gate_max_excess: float = Field(
        50.0, gt=1, description="a model with so many times the expected held-back false alarms stays shadow"
    )
    # 0 by default: on streams whose normal life has bursts of 5 standard deviations such anomalies are none.
    gate_min_recall: float = Field(
        0.0, ge=0, le=1, description="a model of 1024 slots that sees less of the injected anomalies stays shadow"
    )

    @field_validator("scales")
    @classmethod
    def _increasing(cls, value: list[int]) -> list[int]:
        if not value or value != sorted(set(value)) or value[0] < 2 or value[-1] > LONGEST_SCALE:
            raise ValueError(
                f"scales must be increasing window lengths of 2 to {LONGEST_SCALE} slots, e.g. [8, 16, 64]"
            )
        for scale in value:
            if scale > 16 and scale % 16:
                raise ValueError(f"scale {scale}: scales above 16 slots must be multiples of 16")
        return value

    @field_validator("teacher_depths")
    @classmethod
    def _depths(cls, value: list[int]) -> list[int]:
        if not value or value != sorted(set(value)) or value[0] < 1:
            raise ValueError("teacher_depths must be increasing block numbers from 1, e.g. [1, 2]")
        return value

    @field_validator("teacher_patch")
    @classmethod
    def _patch(cls, value: int) -> int:
        if 16 % value or value > 8:
            raise ValueError("teacher_patch must be 1, 2, 4 or 8: it divides the 16 points of a window")
        return value

    @model_validator(mode="after")
    def _teacher_scales(self) -> Self:
        unknown = [s for s in self.teacher_scales if s not in self.scales or s < 16]
        if unknown:
            raise ValueError(f"teacher_scales {unknown} must be among scales {self.scales} and at least 16")
        return self
