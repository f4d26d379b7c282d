"""The product as a backtest replays it: what the workers run."""

from detector.model.teacher import Teacher
from trainer.backtest.live import bank_for, through_store
from trainer.backtest.profiles import Profile, ProfileFit, register
from trainer.backtest.ranking import sustained
from trainer.backtest.settings import BacktestSettings
from trainer.fit.agreed import load_teacher
from trainer.fit.histories import History
from trainer.fit.run import train

_TEACHERS: dict[str, Teacher | None] = {}


def _teacher(settings: BacktestSettings) -> Teacher | None:
    """The frozen LLM, loaded once a process; of several, the newest is kept."""
    named = settings.model_dump_json(include={n for n in type(settings).model_fields if n.startswith("teacher")})
    if named not in _TEACHERS:
        _TEACHERS.clear()
        _TEACHERS[named] = load_teacher(settings)
    return _TEACHERS[named]


def _fit(history: History, settings: BacktestSettings, teacher: Teacher | None, seed: int) -> ProfileFit:
    """Train one student and put it into force as a detector would: out of its artefact."""
    bank = bank_for(settings, teacher)
    if history.points < settings.min_slots:
        by = "scored by the generic prior" if settings.warming else "not scored"
        gate = f"not fitted, {by}: {history.points} slots with data are fewer than {settings.min_slots}"
        return ProfileFit(bank, gate, 0)
    trained = train([history], teacher, settings)
    ref, student, size = through_store(trained, history.stream)
    bank.put([(ref, student)])
    return ProfileFit(bank, trained.results[0].reason, size, student)


register(Profile("product", _teacher, _fit, lambda settings: settings, sustained))
