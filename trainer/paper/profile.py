"""Registers AnomalyLLM as published beside the product, so that a backtest can replay either.

Shapes: K slots of the test part
"""

from detector.live.settings import WorkerSettings
from detector.model.teacher import Teacher
from trainer.backtest.profiles import Profile, ProfileFit, register
from trainer.backtest.settings import BacktestSettings
from trainer.fit.histories import History
from trainer.paper.fit import fit
from trainer.paper.score import PaperBank, by_windows
from trainer.paper.trunk import load_trunk


def _teacher(settings: BacktestSettings) -> Teacher | None:
    """None: the paper's teacher is not frozen, each fit has its own. Its blocks are loaded once, here."""
    load_trunk(settings)
    return None


def _fit(history: History, settings: BacktestSettings, teacher: Teacher | None, seed: int) -> ProfileFit:
    fitted = fit(history, settings, seed)
    if isinstance(fitted, str):
        return ProfileFit(PaperBank(None, settings), fitted, 0)
    return ProfileFit(PaperBank(fitted, settings), "none: the paper has no gate", fitted.size)


def _rules(settings: BacktestSettings) -> WorkerSettings:
    return by_windows(settings, settings.paper_stride)


# The paper ranks slots by its score alone.
register(Profile("paper", _teacher, _fit, _rules, lambda rank_K: rank_K))
