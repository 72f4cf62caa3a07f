"""How the process says what happens: structured lines on one stream, and no flood of the same one.

Knows nothing of what is logged. Everything goes through the standard ``logging`` module, so that
the libraries' messages look like ours.
"""

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all log messages of at least ``level`` to ``stream`` (standard error by default).

    ``form`` is ``text`` for people, in colour on a terminal, or ``json``: one object per line with
    at least ``timestamp`` (ISO 8601, UTC), ``level``, ``logger`` and ``event``. Calling again
    replaces the former set-up.
    """
    target = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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
