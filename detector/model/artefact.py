"""Artefacts: one safetensors file a training run, many streams a file, a JSON header; stored through fsspec.

Nothing here can execute what it reads: no pickle anywhere.
"""

import hashlib
import os
import re
import tempfile
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec
import orjson
import structlog
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from detector.model.archive import Archive
from detector.model.foreign import check_layout, check_places, check_starts, check_student
from detector.model.layout import Layout
from detector.model.memories import Memories
from detector.model.row_types import Rows
from detector.model.seasons import FIELDS, LATER, Seasons
from detector.model.store_errors import ArtefactError, MissingArtefactError, StoreError
from detector.model.stored_rows import restored, stored
from streamer.contracts import STORE_NAME
from streamer.errors import ConfigError
from streamer.masking import masked

log = structlog.get_logger(__name__)
FORMAT, EARLIER = 6, (5,)  # what is written, and what can be read besides
SUFFIX = ".safetensors"
# A run fits at most 512 streams of 256 channels, some 48 KB each: what is larger is not ours, and would fill memory or disk.
MAX_BYTES = 8 << 30
_HEADER = "anomalyllm"
# What reading a file of somebody else may come to besides: tensors of other names, kinds and shapes.
_UNFIT = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError)
# Copies of a remote store on this host: some 80 artefacts of 512 streams. Students are in memory once they are installed,
# so that more is of use to a restart only.
CACHE_BYTES = 2 << 30
IN_USE_S = 600.0  # another worker may be about to open what it has just looked up
MAX_HEAD = 64 << 20  # the format allows 100 MB; ours has some 100 bytes a stream


@dataclass(frozen=True)
class Member:
    """One stream of an artefact: its rows begin at `start`, one for each channel in this order.

    >>> Member("web.cpu", start=0, channels=["user", "system"], grid_version=1, trained_slots=(0, 8191), points=8000).metrics
    {}
    """

    stream: str
    start: int
    channels: list[str]
    grid_version: int
    trained_slots: tuple[int, int]
    points: int
    metrics: dict[str, float] = field(default_factory=dict)  # held-back false alarms, recall on injected anomalies


@dataclass(frozen=True)
class Header:
    """The header of an artefact: what it holds and what it was made of.

    >>> header = Header("v1", Layout(scales=(8, 16, 64), prototypes=32, shapes=12, medoids=256), members=[])
    >>> Header.loads(header.dumps()) == header
    True
    """

    version: str
    layout: Layout
    members: list[Member]
    lineage: dict[str, str] = field(default_factory=dict)  # job, code, parent versions
    created_at: str = ""

    def dumps(self) -> str:
        """JSON, as stored in the safetensors metadata."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}).decode()

    @classmethod
    def loads(cls, text: str) -> "Header":
        """Read back. Raises ArtefactError when it is not ours or of another format."""
        try:
            raw = orjson.loads(text)
            if raw.pop("format") not in (FORMAT, *EARLIER):
                raise ArtefactError("the artefact is of another format version: fit its streams again")
            header = _HEADERS.validate_python(raw)
            check_layout(header.layout)
            check_places([(member.start, len(member.channels), member.points) for member in header.members])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"the artefact's header cannot be read ({error}): fit its streams again") from error
        return header


_HEADERS = TypeAdapter(Header)


@dataclass(frozen=True)
class Student:
    """One stream's part of an artefact.

    >>> member = Member("web.cpu", 0, ["value"], grid_version=1, trained_slots=(0, 99), points=100)
    >>> Student("v1", member, Layout((8,), prototypes=4, shapes=2, medoids=8), {}, {}, Memories()).seasons.at
    []
    """

    version: str
    member: Member
    layout: Layout
    rows: Rows  # (channels, …)
    stream: dict[str, Tensor]  # (…)
    memories: Memories  # of its channels that have one
    seasons: Seasons = field(default_factory=Seasons)  # of all its channels, or of none
    archive: Archive = field(default_factory=Archive)  # where it was asked for


def new_version() -> str:
    """A version that sorts by time: milliseconds since 1970 in hexadecimal, and a random part."""
    return f"{time.time_ns() // 1_000_000:012x}-{uuid.uuid4().hex[:8]}"


def written_ms(name: str) -> float:
    """When an artefact was written (Unix ms), by its version; a name that is not one of ours is never old."""
    try:
        return float(int(name.removesuffix(SUFFIX).partition("-")[0], 16)) if name.endswith(SUFFIX) else float("inf")
    except ValueError:
        return float("inf")


def dump(
    header: Header, rows: Rows, streams: Mapping[str, Tensor], memories: Memories, seasons: Seasons,
    archives: Sequence[Archive] = (),
) -> bytes:  # fmt: skip
    """The file. `rows` (R, …), `streams` (S, …) and `archives`, if there are any, follow the order of the header's members."""
    tensors = {f"row.{name}": stored(name, value) for name, value in rows.items()}
    tensors |= {f"stream.{name}": value.float().contiguous().cpu() for name, value in streams.items()}
    older = {}
    if any(map(len, archives)):
        older = Archive.flat(
            archives, [len(member.channels) for member in header.members], rows["centre"], rows["scale"]
        )
    for kind, kept in (("memory", memories.flat()), ("season", seasons.flat()), ("archive", older)):
        tensors |= {f"{kind}.{name}": value.contiguous().cpu() for name, value in kept.items()}
    return save(tensors, metadata={_HEADER: header.dumps()})


class ArtefactStore:
    """Artefacts under an fsspec URI (a folder by default); remote ones are copied to a local cache once.

    >>> from tempfile import TemporaryDirectory
    >>> folder = TemporaryDirectory()
    >>> store = ArtefactStore(folder.name, Path(folder.name) / "cache")
    >>> header = Header("v1", Layout(scales=(8, 16, 64), prototypes=32, shapes=12, medoids=256), members=[])
    >>> name, sha256 = store.write("v1.safetensors", dump(header, {}, {}, Memories(), Seasons()))
    >>> store.header(name, sha256).version
    'v1'
    >>> store.header(name, "0" * 64)
    Traceback (most recent call last):
    detector.model.store_errors.ArtefactError: artefact v1.safetensors has sha256 ...
    >>> folder.cleanup()
    """

    def __init__(self, uri: str, cache_dir: Path) -> None:
        """Connects to a remote store. Raises ConfigError for an address that cannot be one, StoreError."""
        self.uri = uri.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.uri)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                masked(f"artefact store {self.uri}: {error}. Check --store, or install its fsspec driver")
            ) from error
        except Exception as error:  # drivers raise their own classes
            raise StoreError(masked(f"artefact store {self.uri}: cannot connect: {error}")) from error
        self._local = isinstance(self._fs, fsspec.implementations.local.LocalFileSystem)
        self._cache = cache_dir
        self._checked: set[tuple[str, str]] = set()

    def written_before(self, ms: float) -> list[str]:
        """Names of our kind whose version says that they were written before that moment (Unix ms). Raises StoreError."""
        try:
            paths = self._fs.ls(self._root, detail=False) if self._fs.exists(self._root) else []
        except Exception as error:  # drivers raise their own classes
            raise StoreError(f"artefact store {self.uri}: cannot list: {error}") from error
        names = (str(path).rpartition("/")[2] for path in paths)
        return sorted(name for name in names if written_ms(name) < ms)

    def lineage(self, name: str) -> dict[str, str]:
        """What a stored file says it was made of, by its first bytes; nothing where it is none. Raises StoreError."""
        path = f"{self._root}/{name}"
        try:
            size = int.from_bytes(self._fs.cat_file(path, start=0, end=8), "little")
            if not 0 < size <= MAX_HEAD:
                return {}
            head = orjson.loads(self._fs.cat_file(path, start=8, end=8 + size))
            return dict(orjson.loads(head["__metadata__"][_HEADER])["lineage"])
        except (FileNotFoundError, KeyError, TypeError, ValueError):
            return {}
        except Exception as error:  # drivers raise their own classes
            raise StoreError(f"artefact store {self.uri}: cannot read {name}: {error}") from error

    def write(self, name: str, data: bytes) -> tuple[str, str]:
        """Store a file; returns its URI relative to the store and its sha256. Raises StoreError, ArtefactError."""
        _bound(name, len(data))
        path = f"{self._root}/{_below(name)}"
        try:
            self._fs.makedirs(self._root, exist_ok=True)
            if self._local:  # a reader must never see half a file
                _replace(Path(path), data)
            else:
                self._fs.pipe_file(path, data)
        except Exception as error:  # drivers raise their own classes
            raise StoreError(f"artefact store {self.uri}: cannot write {name}: {error}") from error
        return name, hashlib.sha256(data).hexdigest()

    def read(self, name: str, sha256: str, members: Sequence[int], *, archives: bool = False) -> list[Student]:
        """Students of some members of a file, read by slices; who trains asks for what they carry on besides. Raises
        StoreError or ArtefactError."""
        path = self._fetch(name, sha256)
        try:
            with safe_open(path, framework="pt") as file:
                header = Header.loads((file.metadata() or {}).get(_HEADER, "{}"))
                at = file.get_tensor(f"memory.{Memories.ROW}").tolist()
                timed = file.get_tensor(f"season.{Seasons.ROW}").tolist()
                students = [_student(file, header, index, name, at, timed) for index in members]
                if not archives or f"archive.{Archive.START}" not in file.keys():  # noqa: SIM118
                    return students
                return [_with_archive(file, header, i, s) for i, s in zip(members, students, strict=True)]
        except (SafetensorError, OSError, *_UNFIT) as error:
            raise ArtefactError(f"artefact {name} cannot be read: {error}. Fit its streams again") from error

    def remove(self, name: str) -> None:
        """Delete an artefact; one that is not there is no error. Raises StoreError, ArtefactError."""
        _below(name)
        try:
            self._fs.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        except Exception as error:  # drivers raise their own classes
            raise StoreError(f"artefact store {self.uri}: cannot delete {name}: {error}") from error

    def header(self, name: str, sha256: str) -> Header:
        """A file's header. Raises StoreError or ArtefactError."""
        try:
            with safe_open(self._fetch(name, sha256), framework="pt") as file:
                return Header.loads((file.metadata() or {}).get(_HEADER, "{}"))
        except SafetensorError as error:
            raise ArtefactError(f"artefact {name} cannot be read: {error}. Fit its streams again") from error

    def _fetch(self, name: str, sha256: str) -> Path:
        """A local path with checked contents."""
        _below(name)
        local = Path(self._root) / name if self._local else self._cache / f"{sha256}{SUFFIX}"
        if self._local and not local.resolve().is_relative_to(Path(self._root).resolve()):
            raise ArtefactError(f"artefact {name} is a link that leads out of the store: put the file itself there")
        if not self._local and local.exists():
            os.utime(local)  # newest used, goes last
        if (name, sha256) in self._checked and local.exists():
            return local
        if not self._local and not local.exists():
            _replace(local, self._download(name))
            self._make_room(local)
        try:
            with local.open("rb") as file:
                _bound(name, os.fstat(file.fileno()).st_size)
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise MissingArtefactError(name, self.uri) from error
        except OSError as error:
            raise StoreError(f"artefact store {self.uri}: cannot read {name}: {error}") from error
        if found != sha256:
            if not self._local:
                local.unlink(missing_ok=True)
            raise ArtefactError(f"artefact {name} has sha256 {found[:12]}…, announced was {sha256[:12]}…: fit again")
        self._checked.add((name, sha256))
        return local

    def _make_room(self, newest: Path) -> None:
        """Delete what was not used for longest from the cache, where it holds too much; what is in use stays readable."""
        found = []
        for path in self._cache.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another worker of this host makes room, too
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        found.sort(reverse=True)
        total = 0
        for used, size, path in found:
            total += size
            if total > CACHE_BYTES and path != newest and time.time() - used > IN_USE_S:
                path.unlink(missing_ok=True)
        self._checked = {
            (name, sha256) for name, sha256 in self._checked if (self._cache / f"{sha256}{SUFFIX}").exists()
        }

    def _download(self, name: str) -> bytes:
        try:
            path = f"{self._root}/{name}"
            _bound(name, int(self._fs.size(path) or 0))
            data: bytes = self._fs.cat_file(path)
        except ArtefactError:
            raise
        except FileNotFoundError as error:
            raise MissingArtefactError(name, self.uri) from error
        except Exception as error:  # drivers raise their own classes
            raise StoreError(f"artefact store {self.uri}: cannot read {name}: {error}") from error
        return data


def _below(name: str) -> str:
    """The name again. Raises ArtefactError when it may lead out of the store."""
    if not re.fullmatch(STORE_NAME, name):
        raise ArtefactError(f"artefact {name[:80]!r} is not a name below the store: fit its streams again")
    return name


def _student(file: Any, header: Header, index: int, name: str, at: Sequence[int], timed: Sequence[int]) -> Student:
    """Member `index`; `at` are the rows that have a memory, `timed` those that have a season, ascending."""
    if not 0 <= index < len(header.members):
        raise ArtefactError(f"artefact {name} has {len(header.members)} streams, row {index} was asked for")
    member = header.members[index]
    end = member.start + len(member.channels)
    rows: Rows = {}
    stream: dict[str, Tensor] = {}
    for wanted, shapes, first, last in (
        ("row", header.layout.row_fields(), member.start, end),
        ("stream", header.layout.stream_fields(), index, index + 1),
    ):
        for key, shape in shapes.items():
            part = restored(key, file.get_slice(f"{wanted}.{key}")[first:last], shape)
            if tuple(part.shape) != (last - first, *shape):
                raise ArtefactError(f"artefact {name}: {wanted}.{key} has shape {tuple(part.shape)}: fit again")
            if wanted == "row":
                rows[key] = part
            else:
                stream[key] = part[0]
    low, high = bisect_left(at, member.start), bisect_left(at, end)

    if low < high:
        places = file.get_slice(f"memory.{Memories.START}")[low : high + 1].tolist()
        check_starts(places, file.get_slice(f"memory.{Memories.HISTORY}").get_shape()[0])
    placed = f"memory.{Memories.PLACE}" in file.keys()  # noqa: SIM118
    memories = Memories.read(_part(file, "memory"), low, high, member.start, header.layout.shape_fields(), placed)

    kept = _part(file, "season")

    def season(key: str, first: int, last: int) -> Tensor:
        if key in LATER and f"season.{key}" not in file.keys():  # noqa: SIM118
            return torch.zeros(last - first, *FIELDS[key])
        return kept(key, first, last)

    low, high = bisect_left(timed, member.start), bisect_left(timed, end)
    seasons = Seasons.read(season, low, high, member.start)
    check_student(rows, memories, seasons, header.layout)
    return Student(header.version, member, header.layout, rows, stream, memories, seasons)


def _with_archive(file: Any, header: Header, index: int, student: Student) -> Student:
    widths = [len(member.channels) for member in header.members]
    return replace(student, archive=Archive.read(_part(file, "archive"), index, widths, student.rows))


def _part(file: Any, kind: str) -> Callable[[str, int, int], Tensor]:
    """Slices of the tensors of one kind."""

    def part(key: str, first: int, last: int) -> Tensor:
        found: Tensor = file.get_slice(f"{kind}.{key}")[first:last]
        return found

    return part


def _bound(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ArtefactError(f"artefact {name} has {size:,} bytes, at most {MAX_BYTES:,} are read")


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
