"""`anomalyllm models`: what is in force, what it was made of, and how to go back.

Shapes: B stretches of an archive
"""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streamer.contracts import ModelRecord, ModelRef
from streamer.errors import AnomalyLLMError, ConfigError, ContractError
from streamer.kafka.client import make_producer
from streamer.kafka.tables import TableReader
from streamer.kafka.topics import provision
from streamer.parsing import parse
from streamer.settings import CommonSettings
from trainer.announce import now


async def read_records(settings: CommonSettings) -> list[ModelRecord]:
    """Newest record of every stream, by name. Raises UnavailableError."""
    await provision(settings)
    reader = TableReader(settings, "models")
    found: dict[bytes, ModelRecord] = {}
    try:
        await reader.start()
        for record in await reader.catch_up():
            if record.value is None:
                found.pop(record.key, None)
                continue
            try:
                found[record.key] = parse(ModelRecord, record.value, "a model record")
            except ContractError:
                continue  # the workers log it and keep what they had
    finally:
        await reader.stop()
    return [found[key] for key in sorted(found)]


async def read_record(settings: CommonSettings, stream: str) -> ModelRecord:
    """One stream's record. Raises ConfigError when it has none."""
    for record in await read_records(settings):
        if record.stream == stream:
            return record
    raise ConfigError(f"{stream} has no model. `anomalyllm models list` shows all, `anomalyllm train` asks for one")


async def roll_back(settings: CommonSettings, stream: str) -> ModelRecord:
    """Promoted and previous change places. Raises ConfigError when there is no previous model."""
    record = (await read_record(settings, stream)).rolled_back(now())
    if record is None:
        raise ConfigError(f"{stream} has no previous model to return to")
    producer = await make_producer(settings)
    try:
        value = record.model_dump_json().encode()
        await producer.send_and_wait(settings.topic("models"), value, key=stream.encode())
    finally:
        await producer.stop()
    return record


def table(records: list[ModelRecord]) -> Table:
    """One line a stream."""
    made = Table("stream", "in force", "slots seen", "shadow", "previous", "announced")
    for record in records:
        points = str(record.promoted.points) if record.promoted else ""
        versions = [_version(ref) for ref in (record.promoted, record.shadow, record.previous)]
        made.add_row(record.stream, versions[0], points, versions[1], versions[2], record.announced_at[:19])
    return made


def details(settings: CommonSettings, record: ModelRecord) -> Group:
    """Each model of a stream with its gate's figures, why one was refused, and the season of the one in force."""
    from detector.model.archive import STRETCH
    from detector.model.artefact import ArtefactStore
    from trainer.cli.season_picture import season_curves

    store = ArtefactStore(settings.store_uri(), settings.state_dir / "cache")
    made = Table("", "version", "grid", "slots", "seen", "job", "held-back false alarms", "recall", title=record.stream)
    notes: list[RenderableType] = []
    curves: list[RenderableType] = []
    for role, ref in (("promoted", record.promoted), ("shadow", record.shadow), ("previous", record.previous)):
        if ref is None:
            continue
        job = excess = recall = "?"
        try:
            header = store.header(ref.uri, ref.sha256)
            metrics = header.members[ref.row].metrics
            job = header.lineage.get("job", "?")
            excess, recall = f"{metrics['excess']:.1f} x promised", f"{metrics['recall']:.0%}"
            if role == "promoted" or (record.promoted is None and role == "shadow"):
                [student] = store.read(ref.uri, ref.sha256, [ref.row], archives=True)
                whole = len(student.memories) == len(student.member.channels)
                own = student.memories.places[0][1:] if whole and student.memories.places else []
                if carried := [*student.archive.first_B.tolist(), *own]:
                    many, first = len(carried), min(carried)
                    notes.append(
                        Text(f"carries {many} stretches of {STRETCH} slots on to the next fit, from slot {first}")
                    )
                curves = season_curves(student.seasons, student.member.channels)
        except AnomalyLLMError as error:
            notes.append(Text(f"{role}: {error}", style="yellow"))
        if ref.refused:
            notes.append(Text(f"{role} refused by the gate: {ref.refused}", style="yellow"))
        span = f"{ref.trained_slots[0]}..{ref.trained_slots[1]}"
        made.add_row(role, ref.version, str(ref.grid_version), span, str(ref.points), job, excess, recall)
    return Group(made, *notes, *curves)


def _version(ref: ModelRef | None) -> str:
    return ref.version if ref is not None else ""
