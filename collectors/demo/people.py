"""Who lives and works in the demonstration town.  Every name is made up."""

from __future__ import annotations

from dataclasses import dataclass

SURNAMES = "王李张刘陈杨赵黄周吴徐孙马胡朱郭何林高罗"
GIVEN = ("伟", "芳", "秀英", "建国", "丽", "强", "敏", "桂兰", "涛", "静", "军", "洋")

STAFF_PASSWORD = "nuan-demo"
STAFF = (
    ("caiwu", "周会计", ["finance"]),
    ("yunwei", "吴调度", ["operator"]),
    ("chaobiao", "孙师傅", ["reader"]),
    ("jingli", "郑经理", ["manager", "finance", "operator"]),
)


@dataclass(frozen=True)
class Person:
    """A WeChat user of the sandbox who looks after a flat, and how their bills stand."""

    openid: str
    nickname: str
    building: str
    flat: str
    pays: str  # "first": the first bills only; "none": nothing, so the first are overdue
    note: str


PEOPLE = (
    Person("demo-zhang", "张伟", "A", "101", "first", "一张已缴、一张待缴的账单"),
    Person("demo-wang", "王芳", "A", "203", "none", "有逾期账单，会收到催缴提醒"),
    Person("demo-li", "李建国", "B", "102", "first", "水、电、气、热四表"),
)


def owner_of(building: str, index: int) -> tuple[str, str]:
    """(name, phone) of the flat's owner; the people above own theirs."""
    seed = index * 7 + (0 if building == "A" else 5)
    name = SURNAMES[seed % len(SURNAMES)] + GIVEN[(seed * 5 + 3) % len(GIVEN)]
    phone = f"139{0 if building == 'A' else 1}000{index:04d}"
    return name, phone
