"""The table of detectors that a backtest can replay. Each one registers itself when its room is imported."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple, Protocol

import numpy as np

from detector.live.settings import WorkerSettings
from detector.model.artefact import Student
from detector.model.interface import Bank
from detector.model.teacher import Teacher
from streamer.errors import ConfigError
from trainer.backtest.settings import BacktestSettings
from trainer.fit.histories import History

# Name → the module that registers it. This is the only place that knows of another detector than the product's.
_ROOMS = {"product": "trainer.backtest.product", "paper": "trainer.paper.profile"}


class ReplayBank(Bank, Protocol):
    """A bank that counts the streams which may ask the teacher."""

    def with_teacher(self) -> int:
        """Streams whose windows may reach the teacher."""
        ...


class ProfileFit(NamedTuple):
    """A bank with one stream's student, the result of its gate, and its bytes."""

    bank: ReplayBank
    gate: str
    size: int
    student: Student | None = None  # as the product has them


@dataclass(frozen=True)
class Profile:
    """One detector, as a replay needs it."""

    name: str
    teacher: Callable[[BacktestSettings], Teacher | None]  # loaded once a process
    fit: Callable[[History, BacktestSettings, Teacher | None, int], ProfileFit]  # the last one is the seed
    rules: Callable[[BacktestSettings], WorkerSettings]  # for the opening of incidents
    rank: Callable[[np.ndarray], np.ndarray]  # ranks of the slots (K,) → what orders them


_PROFILES: dict[str, Profile] = {}


def register(profile: Profile) -> None:
    """Put a detector into the table."""
    _PROFILES[profile.name] = profile


def profile_of(settings: BacktestSettings) -> Profile:
    """The detector that settings ask for. Raises ConfigError when there is none of that name."""
    name = settings.profile
    if name not in _ROOMS:
        raise ConfigError(f"--profile {name}: expected one of {', '.join(_ROOMS)}")
    if name not in _PROFILES:
        import_module(_ROOMS[name])
    return _PROFILES[name]


def settings_of_others(settings: BacktestSettings) -> set[str]:
    """Names of the settings that belong to other profiles than the one asked for: they change no result."""
    others = tuple(f"{name}_" for name in _ROOMS if name != settings.profile)
    return {name for name in type(settings).model_fields if name.startswith(others)}
