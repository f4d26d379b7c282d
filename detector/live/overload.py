"""More than can be scored: what is left out, in which order, and when it is taken up again.

A worker that is behind judges in larger batches first, which changes nothing but the delay: a slot in a batch of 64
of its stream costs a seventh of a slot alone. Where the backlog still does not shrink, it judges fewer slots of every
stream, and asks no teacher at last. Every stream is judged at every level; memory is bounded by what one batch may
hold, the rest stays in Kafka. As soon as the worker is at the end of its partitions again, it goes back, step by step.
"""

BEHIND_S = 5.0  # so long not at the end of its partitions: behind
STEP_S = 30.0  # so long a level is given to make the backlog shrink, or, at the end, to show that less would do
SHRINKS = 0.95
LONGEST_CALM_S = 960.0  # where stepping down has been too early again and again
# What one batch holds at most when it is behind: no more than is judged in TURN_S at the pace of the batch before; its
# slots are scored 4096 at a time.
COALESCED_MESSAGES, COALESCED_BYTES, TURN_S = 1024, 64 << 20, 3.0
# Each level with how much farther apart scored slots are, and whether the teacher is asked. Slots that are scored apart
# cost seven times those that are scored together: less than 16 apart saves nothing.
LEVELS = (
    ("all", 1, True),
    ("larger batches", 1, True),
    ("every 16th slot", 16, True),
    ("every 64th slot", 64, True),
    ("every 64th slot, no teacher", 64, False),
)


class Overload:
    """Which level is in force.

    >>> load = Overload()
    >>> [load.observe(float(second), unread=100 + second) for second in (0, 6, 40, 80, 120, 160)]
    [0, 1, 2, 3, 4, 4]
    >>> [load.observe(float(second), unread=0) for second in (170, 205, 240, 275, 310, 345)]
    [4, 3, 2, 1, 0, 0]
    """

    def __init__(self) -> None:
        self.level = 0
        self._at_end: float | None = None  # when it was last at the end of its partitions
        self._late = False  # it was not there for longer than BEHIND_S
        self._since = 0.0  # when the level, or the way it was going, changed
        self._unread = 0  # messages then
        self._pace = 0.0  # messages a second
        self._calm_s = STEP_S  # so long at the end before less is left out
        self._lowered: float | None = None

    def messages(self, usual: int) -> int:
        """How many messages the next batch may hold, if `usual` is what it holds otherwise."""
        return usual if self.level == 0 else max(usual, min(COALESCED_MESSAGES, int(self._pace * TURN_S)))

    def judged(self, messages: int, seconds: float) -> None:
        """A batch of so many messages has taken so long."""
        if messages:
            self._pace = messages / max(seconds, 1e-3)

    @property
    def apart(self) -> int:
        """How much farther apart scored slots are."""
        return LEVELS[self.level][1]

    @property
    def teacher(self) -> bool:
        """Whether the teacher is asked."""
        return LEVELS[self.level][2]

    @property
    def words(self) -> str:
        """What is judged, for people."""
        return LEVELS[self.level][0]

    def observe(self, now: float, unread: int) -> int:
        """So many messages of `windows` are unread beyond one usual batch (monotonic seconds); returns the level."""
        if unread == 0 or self._at_end is None:
            if self._late:
                self._since, self._late = now, False
            self._at_end = now
            if unread == 0 and self.level and now - self._since >= self._calm_s:
                self._go(now, self.level - 1, unread)
                self._lowered = now
        elif now - self._at_end > BEHIND_S:
            self._late = True
            if self.level == 0:
                self._go(now, 1, unread)
            elif now - self._since >= STEP_S:
                shrinks = unread < SHRINKS * self._unread
                self._go(now, self.level if shrinks else min(self.level + 1, len(LEVELS) - 1), unread)
        return self.level

    def _go(self, now: float, level: int, unread: int) -> None:
        if level > self.level:  # the step down was one too many: the next one comes later
            soon = self._lowered is not None and now - self._lowered < 2 * STEP_S + BEHIND_S
            self._calm_s = min(2 * self._calm_s, LONGEST_CALM_S) if soon else STEP_S
        self._since, self._unread, self.level = now, unread, level
