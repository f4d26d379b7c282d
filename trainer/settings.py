"""Settings of the trainer worker."""

from pydantic import Field

from detector.settings import DetectorSettings


class TrainerSettings(DetectorSettings):
    """What the trainer needs beside teacher and bank settings."""

    batch_requests: int = Field(512, ge=1, description="training requests fitted together in one run")
    batch_wait_ms: int = Field(300, ge=0, description="how long a run waits for more requests after the first")
    min_slots: int = Field(128, ge=64, description="slots with data below which a stream is not fitted")
    shape_share: float = Field(
        1.0, ge=0, le=1, description="weight of the shape memory in a stream that is all shapes; 0: no shape memory"
    )
    shape_rest: float = Field(
        2.0, ge=0, le=12, description="surprise beside it, without shapes, that still counts in such a stream"
    )
    shape_sharpness: int = Field(
        3, ge=0, le=8, description="exponent of the evidence that weighs shape views; 0: all kept views alike"
    )
    fit_windows: int = Field(2048, ge=256, description="training windows a stream and scale, at most")
    distil_windows: int = Field(64, ge=48, description="windows a stream's channel that the LLM sees in a full fit")
    gate_windows: int = Field(48, ge=24, description="further windows it sees to calibrate what passes the budget gate")
    teacher_evidence: bool = Field(
        True,
        description="the LLM's views carry weight only in streams where they find injected anomalies that the others "
        "miss; the other streams never call it. Off: they weigh as much as the others together, always",
    )
    gate_max_excess: float = Field(
        50.0,
        gt=1,
        description="a model whose held-back false alarms exceed the expected ones this many times stays shadow",
    )
    gate_min_recall: float = Field(
        0.0,
        ge=0,
        le=1,
        description="a model of 1024 slots or more that sees a smaller share of the injected anomalies stays shadow; "
        "0 by default: on streams whose normal life has bursts of 5 standard deviations such anomalies are none",
    )
