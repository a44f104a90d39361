"""Fields that take only what the database can hold, and say in Chinese what is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import date
from typing import Any

from apiflask import fields
from marshmallow import ValidationError, validate

MAX_ID = 2**63 - 1
ID = f"int(max={MAX_ID})"  # of a row, in a path: a longer number is no such page
# NUL, other control characters and half a surrogate pair have no place in a name or a note.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)

Words = dict[str, str | list[Any] | dict[Any, Any]]  # as marshmallow types its messages

_REQUIRED = {"required": "此项必填。", "null": "此项必填。"}


class Text(fields.String):
    """A text of `low` to `high` characters without control characters."""

    def __init__(self, low: int = 1, high: int = 100, **more: Any):
        limits = validate.Length(low, high, error=f"请填写 {low} 到 {high} 个字符。")
        checks = [limits, *more.pop("validate", [])]
        words: Words = {**_REQUIRED, "invalid": "请填写文字。", "invalid_utf8": "请填写文字。"}
        super().__init__(validate=checks, error_messages=words, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if _UNFIT.search(text):
            raise ValidationError("含有不能使用的字符。")
        return text


class FileBytes(Text):
    """A file as it came, in base64; its bytes, at most about a megabyte."""

    def __init__(self, **more: Any):
        super().__init__(1, 1_500_000, metadata={"description": "base64"}, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return base64.b64decode(
                super()._deserialize(value, attr, data, **kwargs), validate=True
            )
        except (binascii.Error, ValueError):
            raise ValidationError("文件不是 base64。") from None


class Whole(fields.Integer):
    """A whole number of `low` to `high`; '3', 3.0 and true are not numbers."""

    def __init__(self, low: int = 0, high: int = MAX_ID, *, query: bool = False, **more: Any):
        between = validate.Range(low, high, error=f"须在 {low} 到 {high} 之间。")
        words: Words = {**_REQUIRED, "invalid": "请填写整数。", "too_large": "数字太大。"}
        super().__init__(strict=not query, validate=between, error_messages=words, **more)
        self._from_query = query

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or (isinstance(value, str) and not self._from_query):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """true or false, nothing that merely looks like it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise ValidationError("请填写是或否。")
        return value


class BusinessDay(fields.Date):
    """YYYY-MM-DD of this century."""

    def __init__(self, **more: Any):
        words: Words = {**_REQUIRED, "invalid": "日期格式应为 2026-11-20。"}
        between = validate.Range(_FIRST_DAY, _LAST_DAY, error="日期超出范围。")
        super().__init__(validate=between, error_messages=words, format="iso", **more)


class Moment(fields.AwareDateTime):
    """An ISO 8601 instant with its zone."""

    def __init__(self, **more: Any):
        words: Words = {
            **_REQUIRED,
            "invalid": "时间格式应为 2026-11-20T04:00:00Z。",
            "invalid_awareness": "时间须带时区。",
        }
        super().__init__(format="iso", error_messages=words, **more)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = super()._deserialize(value, attr, data, **kwargs)
        if not _FIRST_DAY.year < found.year < _LAST_DAY.year:
            raise ValidationError("时间超出范围。")
        return found


def one_of(*words: str) -> validate.OneOf:
    """One of these words."""
    return validate.OneOf(words, error=f"须为 {'、'.join(words)} 之一。")
