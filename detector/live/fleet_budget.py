"""The fleet's budget: which incidents are announced where `alerts_per_day` bounds them, see detector/incidents/ranking.py.

All detectors of a deployment share one ranking, a hash in Redis that each brings up to date every ten seconds. Writing an
incident twice changes nothing. A Redis that forgets it begins a new one: a day with more alerts is all that comes of it.
"""

import math
import time
from typing import Any

import redis.asyncio
import structlog

from detector.incidents.episode import Episode
from detector.incidents.identity import incident_id
from detector.incidents.machine import Transition
from detector.incidents.ranking import WEEK, Weighed, bar_of, rank_of
from detector.incidents.record import StreamState
from streamer.refusals import REDIS_ERRORS
from streamer.windows.keys import Keys

log = structlog.get_logger(__name__)
PERIOD_S = 10.0
SINCE = b"since"  # field of the hour in which the ranking began
HOUR_S = 3600


class FleetBudget:
    """Knows what is to be announced of a transition. Without a budget: all of it."""

    def __init__(self, per_day: float | None, client: redis.asyncio.Redis, keys: Keys) -> None:
        self.held_back = 0  # incidents, at their opening
        self._per_day = per_day
        self._client = client
        self._key = keys.ranked()
        self._bars: dict[str, float] = {}  # by tenant
        self._new: dict[str, Weighed] = {}  # not yet in Redis
        self._next = 0.0

    def audible(self, stream: str, state: StreamState, tenant: str, transition: Transition) -> Transition | None:
        """The transition as it is announced, an opening where it is the first of its incident; None: not at all.

        Changes `announced_from` of the state's own episode.
        """
        own = state.same(transition.episode)
        loud = self._per_day is None or self._weigh(
            incident_id(stream, state.grid_version, own.anchor), tenant, transition.episode
        )
        if transition.state == "open":
            own.announced_from = 0 if loud else None
            self.held_back += not loud
            return transition if loud else None
        if own.announced_from is not None:
            return transition
        if not loud or own.ended is not None or own.retracted:
            return None
        own.announced_from = transition.episode.revision
        return transition._replace(state="open")

    def _weigh(self, incident: str, tenant: str, episode: Episode) -> bool:
        """Note its rank; returns whether that reaches the bar."""
        now = Weighed(int(time.time()) // HOUR_S, rank_of(episode), tenant)
        self._new[incident] = now.joined(self._new.get(incident))
        return now.rank >= self._bars.get(tenant, -math.inf)

    async def refresh(self) -> None:
        """Bring ranking and bars up to date, once in `PERIOD_S`. While Redis is away they stay as they are."""
        if self._per_day is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PERIOD_S
        try:
            await self._refresh(int(time.time()) // HOUR_S, self._per_day)
        except REDIS_ERRORS as error:
            log.debug("ranking of incidents not brought up to date", error=str(error))
        except ValueError as error:
            log.warning("the ranking of incidents cannot be read, and is begun anew", key=self._key, error=str(error))
            await self._client.delete(self._key)

    async def _refresh(self, hour: int, per_day: float) -> None:
        await self._client.hsetnx(self._key, SINCE, str(hour))
        stored: Any = await self._client.hgetall(self._key)
        since = int(stored.pop(SINCE))
        ranked = {incident.decode(): Weighed.read(value) for incident, value in stored.items()}
        new = {incident: one.joined(ranked.get(incident)) for incident, one in self._new.items()}
        old = [incident for incident, one in ranked.items() if hour - one.hour >= WEEK]
        pipe: Any = self._client.pipeline(transaction=False)
        if new:
            pipe.hset(self._key, mapping={incident: one.written() for incident, one in new.items()})
        if old:
            pipe.hdel(self._key, *old)
        if new or old:
            await pipe.execute()
        self._new.clear()
        of_tenant: dict[str, list[Weighed]] = {}
        for one in (ranked | new).values():
            of_tenant.setdefault(one.tenant, []).append(one)
        self._bars = {tenant: bar_of(weighed, hour, since, per_day) for tenant, weighed in of_tenant.items()}
