"""Writes log records to standard error: as one JSON object per line, or as plain text at a terminal.

A record made with `extra={"decision": {...}}` has these fields in its line, too.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        body: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        decision = getattr(record, "decision", None)
        if decision is not None:
            body["decision"] = decision
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        return json.dumps(body, ensure_ascii=False, default=str)


def start_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Write records of `level` (debug, info, warning or error) and above to `stream`, by default standard error."""
    target = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s") if target.isatty() else JsonFormatter()
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("urllib3", "kubernetes"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
