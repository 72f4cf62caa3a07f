"""How the process says what happens: structured lines on one stream, and no flood of the same one.

Knows nothing of what is logged. Everything goes through the standard ``logging`` module, so that
the libraries' messages look like ours. Whose business a line is, is told by the context in which it
is written: `CLIENT_ID`, and what is bound with `structlog.contextvars`, as ``request_id`` is.
"""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

CLIENT_ID: ContextVar[str] = ContextVar("client_id")
"""The client whose event is being handled. To bind it in structlog's way costs seven times more."""

_LINES_PER_SECOND = 10
_MAX_KEYS = 1000


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all log messages of at least ``level`` to ``stream`` (standard error by default).

    ``form`` is ``text`` for people, in colour on a terminal, or ``json``: one object per line with
    at least ``timestamp`` (ISO 8601, UTC), ``level``, ``logger`` and ``event``. Calling again
    replaces the former set-up.

    From warnings up, the same message is written ten times a second at most, see `RepeatFilter`.
    """
    target = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_client_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Renderers that show the local variables of a traceback would log tokens and payloads.
    renderers: list[Processor] = (
        [structlog.processors.format_exc_info, _json_line]
        if form == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    handler.addFilter(RepeatFilter(time.monotonic))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            # First, so that a message nobody will see costs nothing more.
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _add_client_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    client_id = CLIENT_ID.get(None)
    if client_id is not None:
        event.setdefault("client_id", client_id)
    return event


class RepeatFilter(logging.Filter):
    """Holds back warnings and errors that are said over and over, whoever says them.

    The same message of the same logger, whatever is in it, passes ten times a second; the first of
    a later second says in ``suppressed`` how many did not. Of more than 1,000 different messages
    the one that was said longest ago is forgotten, with its count.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._said: OrderedDict[tuple[str, int, str], _Said] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is written."""
        if record.levelno < logging.WARNING:
            return True
        # What structlog hands over is a dictionary; of others the text before arguments fill it.
        ours = record.msg if isinstance(record.msg, dict) else None
        message = str(record.msg if ours is None else ours.get("event"))
        key = (record.name, record.levelno, message)
        now = self._monotonic()
        said = self._said.get(key)
        if said is None:
            said = self._said[key] = _Said(now)
            if len(self._said) > _MAX_KEYS:
                self._said.popitem(last=False)
        elif now - said.since >= 1.0:
            suppressed = max(0, said.times - _LINES_PER_SECOND)
            said.since, said.times = now, 0
            self._said.move_to_end(key)
            if suppressed:
                (record.__dict__ if ours is None else ours)["suppressed"] = suppressed
        said.times += 1
        return said.times <= _LINES_PER_SECOND


class _Said:
    """How often a message was said within a second."""

    __slots__ = ("since", "times")

    def __init__(self, since: float) -> None:
        self.since = since
        self.times = 0


class RepeatLimitedLogger:
    """Logs the same thing at most once per interval, and says how often it kept silent.

    What is the same thing is said by a key, which should come from a closed set; of more than
    ``max_keys`` keys the one logged longest ago is forgotten, with its count.
    """

    def __init__(
        self,
        logger: structlog.stdlib.BoundLogger,
        monotonic: Callable[[], float],
        *,
        interval_seconds: float = 1.0,
        max_keys: int = 1000,
    ) -> None:
        self._logger = logger
        self._monotonic = monotonic
        self._interval_seconds = interval_seconds
        self._max_keys = max_keys
        self._logged_at: OrderedDict[str, float] = OrderedDict()
        self._suppressed: dict[str, int] = {}

    def warning(self, key: str, event: str, /, **fields: Any) -> None:
        """Log a warning; ``suppressed`` is added when messages of ``key`` were held back."""
        if self._is_due(key):
            self._logger.warning(event, **fields, **self._count_suppressed(key))

    def error(self, key: str, event: str, /, **fields: Any) -> None:
        """Log an error in the same way; ``exc_info=exception`` adds its traceback."""
        if self._is_due(key):
            self._logger.error(event, **fields, **self._count_suppressed(key))

    def _is_due(self, key: str) -> bool:
        now = self._monotonic()
        logged_at = self._logged_at.get(key)
        if logged_at is not None and now - logged_at < self._interval_seconds:
            self._suppressed[key] = self._suppressed.get(key, 0) + 1
            return False
        self._logged_at[key] = now
        self._logged_at.move_to_end(key)
        if len(self._logged_at) > self._max_keys:
            forgotten, _ = self._logged_at.popitem(last=False)
            self._suppressed.pop(forgotten, None)
        return True

    def _count_suppressed(self, key: str) -> dict[str, int]:
        suppressed = self._suppressed.pop(key, 0)
        return {"suppressed": suppressed} if suppressed else {}
