"""Waiting for servers: one way for all, that says what it waits for, ends when asked to, and never retries a refusal.

A worker waits for ever. A command that a person typed does what it does `within` a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from streamer.errors import UnavailableError
from streamer.masking import masked
from streamer.refusals import KAFKA_ERRORS, refusal
from streamer.stopping import waiting

log = structlog.get_logger(__name__)
T = TypeVar("T")

# A call that is answered takes milliseconds; one that is not may hang for as long as its time limit, 5 to 40 s.
SILENT_S = 3.0
# A wait inside of a block with a time limit ends so much earlier: it knows the error, the limit only that time is over.
AHEAD_S = 0.2
_ends: ContextVar[float | None] = ContextVar("ends", default=None)  # by the loop's clock


class within:
    """`async with within(seconds, what)`: whatever waits for servers in the block has this time together.

    Raises UnavailableError when it is over: `what` does not answer.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._limit = asyncio.timeout(None)
        self._token: Token[float | None] | None = None

    async def __aenter__(self) -> None:
        ends = asyncio.get_running_loop().time() + self._seconds
        self._token = _ends.set(ends - min(AHEAD_S, self._seconds / 2))
        await self._limit.__aenter__()
        self._limit.reschedule(ends)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _ends.reset(self._token)
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            why = f"nothing within {self._seconds:g} s"
            raise UnavailableError(f"{masked(self._what)} does not answer: {why}. Is it running?") from None


def _time_left(give_up_after_s: float | None) -> float | None:
    ends = _ends.get()
    if ends is None:
        return give_up_after_s
    left = ends - asyncio.get_running_loop().time()
    return left if give_up_after_s is None else min(left, give_up_after_s)


class _Wait:
    """One wait: says once that it has begun, and counts as a wait for a server that is away from then on."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.began = False
        self._away = AsyncExitStack()

    def begin(self, error: str) -> None:
        if not self.began:
            self.began = True
            self._away.enter_context(waiting())
            log.warning("waiting", on=self.what, error=error)

    async def end(self) -> None:
        await self._away.aclose()


async def patiently(
    what: str,
    call: Callable[[], Awaitable[T]],
    errors: tuple[type[BaseException], ...] = KAFKA_ERRORS,
    give_up_after_s: float | None = None,
) -> T:
    """Repeat `call` until it works, saying once that `what` is away and once that it is back.

    Raises:
        RefusedError: `what` answers and says no (password, rights); at once.
        UnavailableError: after `give_up_after_s` seconds, or when the time of `within` is over; without either the
            wait has no end but cancelling.
    """
    give_up_after_s = _time_left(give_up_after_s)
    wait = _Wait(masked(what))

    def again(error: BaseException) -> bool:
        return isinstance(error, errors) and refusal(what, error) is None

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait.begin(masked(f"{type(error).__name__}: {error}"))

    silent = asyncio.get_running_loop().call_later(SILENT_S, wait.begin, f"no answer for {SILENT_S:g} s")
    limit = asyncio.timeout(give_up_after_s)
    caught: tuple[type[BaseException], ...] = (TimeoutError, *errors)
    newest: BaseException | None = None
    try:
        async with limit:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(again),
                wait=wait_exponential(0.1, max=2.0),
                before_sleep=before_sleep,
                reraise=True,
            ):
                with attempt:
                    try:
                        result = await call()
                    except errors as error:
                        newest = error
                        raise
    except caught as error:
        refused = refusal(wait.what, error)
        if refused is not None:
            raise refused from None
        if not limit.expired():
            raise
        why = f"{type(newest).__name__}: {newest}" if newest else f"nothing within {give_up_after_s:.2g} s"
        raise UnavailableError(f"{wait.what} does not answer: {masked(why)}. Is it running?") from None
    finally:
        silent.cancel()
        await wait.end()
    if wait.began:
        log.info("back", what=wait.what)
    return result


async def uninterrupted(ending: Coroutine[Any, Any, None]) -> None:
    """Wait for an end that is short, whoever cancels us meanwhile: the second Ctrl-C left a bootstrap running alone."""
    task = asyncio.ensure_future(ending)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
