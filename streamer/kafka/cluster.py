"""Which cluster stands behind the bootstrap address, and whether it is another one now.

A restarted embedded broker starts with an empty log under a new cluster id: an idle consumer would wait at its old
position for ever.
"""

import time

import structlog

from streamer.errors import UnavailableError
from streamer.kafka.client import kafka_name, make_admin
from streamer.kafka.topics import provision
from streamer.patience import patiently
from streamer.refusals import KAFKA_ERRORS, raise_if_refused
from streamer.settings import CommonSettings

log = structlog.get_logger(__name__)
CHECK_S = 2.0
ADMIN_TIMEOUT_MS = 5_000


async def cluster_id(settings: CommonSettings) -> str:
    """Identity of the cluster, asked once. Raises UnavailableError, RefusedError."""
    try:
        admin = await make_admin(settings, ADMIN_TIMEOUT_MS)
        try:
            return str((await admin.describe_cluster())["cluster_id"])
        finally:
            await admin.close()
    except KAFKA_ERRORS as error:
        raise_if_refused(kafka_name(settings), error)
        raise UnavailableError(f"{kafka_name(settings)} does not answer: {type(error).__name__}: {error}") from error


class ClusterCheck:
    """The cluster that a worker knows: `learn` it at the start, ask `replaced` while idle."""

    def __init__(self, settings: CommonSettings) -> None:
        self.known = ""
        self._settings = settings
        self._next = 0.0

    async def learn(self) -> str:
        """Ask for the cluster's id, however long it is away; its topics exist afterwards."""
        name = kafka_name(self._settings)
        self.known = await patiently(name, lambda: cluster_id(self._settings), (UnavailableError,))
        await provision(self._settings)
        return self.known

    async def same(self) -> bool:
        """Whether the cluster answers and is the known one."""
        try:
            return await cluster_id(self._settings) == self.known
        except UnavailableError:
            return False

    async def replaced(self) -> bool:
        """Whether another cluster answers than the known one; it is then the known one, and has the topics.

        Asks at most once in `CHECK_S`. False while nothing answers: consumers reconnect by themselves.
        """
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + CHECK_S
        try:
            now = await cluster_id(self._settings)
        except UnavailableError:
            return False
        if now == self.known:
            return False
        log.warning("the broker is a new one: starting at its beginning", cluster=now)
        await provision(self._settings)
        self.known = now
        return True
