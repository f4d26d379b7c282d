"""Names of all Redis keys. Every key of a stream carries its shard as hash tag, so one shard is one Cluster slot."""

from typing import NamedTuple


class StreamKeys(NamedTuple):
    """The streamer's keys of one stream."""

    header: str
    ring: str
    coarse: str
    recent: str
    waiting: str
    names: str  # of the shard: the set that the stream's name is in


class Keys:
    """Key names under one namespace (several deployments or tests can share a server).

    >>> Keys("prod").ring(17, "web.cpu")
    'prod:{17}:ring:web.cpu'
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def of_stream(self, shard: int, stream: str) -> StreamKeys:
        """All keys that the streamer writes of one stream."""
        return StreamKeys(
            self.header(shard, stream),
            self.ring(shard, stream),
            self.coarse(shard, stream),
            self.recent(shard, stream),
            self.waiting(shard, stream),
            self.names(shard),
        )

    def header(self, shard: int, stream: str) -> str:
        """JSON `StreamHeader`: grid, channels, ring bounds, sequence."""
        return f"{self.namespace}:{{{shard}}}:head:{stream}"

    def ring(self, shard: int, stream: str) -> str:
        """float32 ring: slot mod capacity, channels side by side."""
        return f"{self.namespace}:{{{shard}}}:ring:{stream}"

    def coarse(self, shard: int, stream: str) -> str:
        """Coarse ring: two bytes a block and channel (streamer/windows/coarse.py)."""
        return f"{self.namespace}:{{{shard}}}:coarse:{stream}"

    def recent(self, shard: int, stream: str) -> str:
        """Per-cell ordering facts of the newest slots (time stamp inside the slot, raw counter value)."""
        return f"{self.namespace}:{{{shard}}}:recent:{stream}"

    def waiting(self, shard: int, stream: str) -> str:
        """Raw points of a stream whose interval is not known yet."""
        return f"{self.namespace}:{{{shard}}}:wait:{stream}"

    def stream_offset(self, shard: int, topic: str, partition: int) -> str:
        """Hash: how far this partition of the topic has been applied to this shard."""
        return f"{self.namespace}:{{{shard}}}:off:{topic}:{partition}"

    def owner_epoch(self, topic: str, partition: int) -> str:
        """Counter, INCR at each assignment: the fencing token of the partition's owner."""
        return f"{self.namespace}:epoch:{topic}:{partition}"

    def stream_state(self, shard: int, stream: str) -> str:
        """JSON `StreamState` of the detector: last scored slot, open incident, training asked for.

        The word in the key is older than the class; it stays, so that stored states are found after an upgrade.
        """
        return f"{self.namespace}:{{{shard}}}:verdict:{stream}"

    def watched(self) -> str:
        """Sorted set of the streams that somebody looks at: until when, Unix seconds (streamer/windows/judged.py)."""
        return f"{self.namespace}:watched"

    def judged(self, shard: int, stream: str) -> str:
        """`Judged` of a watched stream, expiring: scores and expected bands of its newest slots."""
        return f"{self.namespace}:{{{shard}}}:judged:{stream}"

    def usual(self, shard: int, stream: str) -> str:
        """`Usual` of a watched stream, expiring: its season's band through a week."""
        return f"{self.namespace}:{{{shard}}}:usual:{stream}"

    def outbox(self, shard: int) -> str:
        """Messages of the detector's newest batch, sent again by the next owner."""
        return f"{self.namespace}:{{{shard}}}:outbox"

    def dead_once(self, topic: str, cluster: str, partition: int, offset: int) -> str:
        """Mark of a bad record in a topic that every worker reads from its beginning: it is dead-lettered once."""
        return f"{self.namespace}:dead:{topic}:{cluster}:{partition}:{offset}"

    def students_missing(self) -> str:
        """Hash: stream → why its announced student cannot be read from the store."""
        return f"{self.namespace}:students-missing"

    def ranked(self) -> str:
        """Hash: incident of the last week → hour in which it opened, rank and tenant (detector/live/fleet_budget.py)."""
        return f"{self.namespace}:ranked"

    def loss_reported(self) -> str:
        """Mark that somebody has told that Redis has lost data."""
        return f"{self.namespace}:loss-reported"

    def names(self, shard: int) -> str:
        """Set of all streams of this shard."""
        return f"{self.namespace}:{{{shard}}}:names"

    def stats(self, worker: str) -> str:
        """JSON counters of a worker process, rewritten once a second, expiring."""
        return f"{self.namespace}:stats:{worker}"

    def workers(self) -> str:
        """Sorted set: names of worker processes, by when they last reported (Unix seconds)."""
        return f"{self.namespace}:workers"
