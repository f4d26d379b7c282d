"""structlog: JSON lines in production, pretty in a terminal; what a library repeats is logged once, then counted."""

import logging
import sys
import time
from typing import Literal

import structlog

from streamer.masking import masked

# aiokafka repeats a lost broker about 40 times a second; once in 30 s tells a person as much.
REPEAT_S = 30.0


class RateLimit(logging.Filter):
    """Lets one record in `REPEAT_S` seconds pass for each (logger, level, message template)."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for the first of a kind; its successors are counted and the count joins the next one shown."""
        key = (record.name, record.levelno, str(record.msg))
        now = time.monotonic()
        last, hidden = self._seen.get(key, (-REPEAT_S, 0))
        if now - last < REPEAT_S:
            self._seen[key] = (last, hidden + 1)
            return False
        self._seen[key] = (now, 0)
        if hidden:
            record.msg = f"{record.msg} (and {hidden} more like it)"
        return True


def configure_logs(
    log_format: Literal["auto", "json", "pretty"] = "auto", level: str = "info", worker: str = ""
) -> None:
    """Set up structlog and the standard library's logging on stderr. Call once a process."""
    pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, _mask],
        )
    )
    handler.addFilter(_foreign_only(RateLimit()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=True,
    )
    if worker:
        structlog.contextvars.bind_contextvars(worker=worker)


def _mask(logger: object, name: str, line: object) -> str:
    """The last step of every line, whoever wrote it: no library and no traceback shows a password."""
    return masked(line)


def _foreign_only(limit: RateLimit) -> logging.Filter:
    class Foreign(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return isinstance(record.msg, dict) or limit.filter(record)

    return Foreign()
