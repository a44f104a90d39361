"""The pretend people of the sandbox: whose WeChat a plain browser can be, and who is told what."""

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from payments.sandbox.desk import ApiError, Sandbox
from payments.sandbox.wechat_app import OPENID

DEFAULT_MERCHANT = "沙箱供热公司"
MAX_PEOPLE = 500
_MAX_CHARS = 64
_SETTING = "people"


@dataclass(frozen=True)
class Person:
    """Someone with WeChat; `note` says who it is in the demonstration, `unionid` may be ''."""

    openid: str
    nickname: str
    note: str = ""
    unionid: str = ""


def everyone(box: Sandbox) -> list[Person]:
    """All of them, in the order they came."""
    return [Person(**values) for values in json.loads(box.state.setting(_SETTING, "[]"))]


def person_of(box: Sandbox, openid: str) -> Person:
    """The person of an openid; a nameless one where it is nobody's we know."""
    known = {person.openid: person for person in everyone(box)}
    return known.get(openid, Person(openid, "微信用户"))


def add_people(box: Sandbox, listed: object) -> list[Person]:
    """Take [{openid, nickname, note?, unionid?}], replacing whoever has the same openid.

    All or none: ApiError PARAM_ERROR for the first entry that will not do.
    """
    if not isinstance(listed, list):
        raise ApiError(400, "PARAM_ERROR", "people must be a list")
    return _keep(box, [_checked(entry) for entry in listed])


def new_person(box: Sandbox) -> Person:
    """Somebody nobody has seen before."""
    openid = f"o{secrets.token_urlsafe(20)}"
    person = Person(openid, f"新用户 {openid[-4:]}", "刚刚来到的人")
    _keep(box, [person])
    return person


def _keep(box: Sandbox, added: Iterable[Person]) -> list[Person]:
    with box.state.transaction():
        known = {person.openid: person for person in everyone(box)}
        known |= {person.openid: person for person in added}
        if len(known) > MAX_PEOPLE:
            raise ApiError(400, "PARAM_ERROR", f"more than {MAX_PEOPLE} people")
        values = [asdict(person) for person in known.values()]
        box.state.set_setting(_SETTING, json.dumps(values, ensure_ascii=False))
    return list(known.values())


def _checked(entry: object) -> Person:
    if not isinstance(entry, dict):
        raise ApiError(400, "PARAM_ERROR", "a person must be an object")
    if not OPENID.fullmatch(str(entry.get("openid", ""))):
        raise ApiError(400, "PARAM_ERROR", "openid: 6 to 64 letters, digits, - or _")
    names = ("openid", "nickname", "note", "unionid")
    return Person(**{name: _text(entry, name) for name in names})


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name, "")
    if not isinstance(value, str) or len(value) > _MAX_CHARS or (name == "nickname" and not value):
        raise ApiError(
            400, "PARAM_ERROR", f"{name} must be text of at most {_MAX_CHARS} characters"
        )
    return value
