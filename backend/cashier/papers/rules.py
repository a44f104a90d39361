"""What papers decide, without a session or a clock: numbers, tax, voids, what goes onto a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from backend.base.money import round_half_up
from backend.base.shares import largest_remainder

# kind -> (the letters a number begins with, its title)
PREFIX = {"receipt": "SJ", "invoice": "FP", "special": "ZP"}
TITLES = {"receipt": "收据", "invoice": "普通发票", "special": "专用发票"}
INVOICES = ("invoice", "special")
SIZES = ("a5", "a4", "pin")
TREATMENTS = {"none": "", "exempt": "免税", "untaxed": "不征税"}
MAX_NUMBER = 99_999_999
MAX_LINES = 60  # a paper has one sheet; what does not fit is issued in several
MIN_REASON = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line before it is stored; `amount_fen` has the tax in it, `tax_fen` is that part."""

    title: str
    amount_fen: int
    utility: str = ""
    bill_id: int | None = None
    quantity: Decimal | None = None
    unit: str = ""
    price: Decimal | None = None
    treatment: str = "none"
    rate_bp: int | None = None
    tax_fen: int = 0
    days: tuple[tuple[date, int], ...] = ()  # what it says of each prepaid day's deduction, in fen


def paper_no(kind: str, issuer_code: str, year: int, number: int) -> str:
    """SJ01202600000012: kind, issuer, year, eight digits."""
    if not 0 < number <= MAX_NUMBER:
        raise ValueError(f"number {number} does not fit into eight digits")
    return f"{PREFIX[kind]}{issuer_code}{year}{number:08d}"


def tax_within(amount_fen: int, rate_bp: int) -> int:
    """The tax contained in a sum that has it in it: amount x rate / (1 + rate), half-up to the fen.

    The one place where tax is rounded: a line's net is its amount less this, so lines add up.
    """
    return round_half_up(Fraction(amount_fen * rate_bp, 10_000 + rate_bp))


def taxed(line: Line, treatment: str, rate_bp: int | None) -> Line:
    """The line with its tax."""
    tax_fen = 0 if rate_bp is None else tax_within(line.amount_fen, rate_bp)
    return replace(line, treatment=treatment, rate_bp=rate_bp, tax_fen=tax_fen)


def net_price(line: Line) -> Decimal | None:
    """The price before tax of one unit, as an invoice says it: quantity x price is its net sum.

    The bill's own price where that comes out to the fen, else what the net sum comes to a unit;
    None where no quantity stands.
    """
    if not line.quantity:
        return None
    net_fen = line.amount_fen - line.tax_fen
    if line.price is not None:
        own = _eighth(Fraction(line.price) * 10_000 / (10_000 + (line.rate_bp or 0)))
        if round_half_up(Fraction(own) * Fraction(line.quantity) * 100) == net_fen:
            return own
    return _eighth(Fraction(net_fen, 100) / Fraction(line.quantity))


def _eighth(value: Fraction) -> Decimal:
    """To eight digits after the point, which is what a price has on an invoice."""
    return Decimal(round_half_up(value * 10**8)).scaleb(-8)


def rate_text(treatment: str, rate_bp: int | None) -> str:
    """'9%', '免税', or nothing where tax is not spoken of."""
    if rate_bp is None:
        return TREATMENTS[treatment]
    whole, part = divmod(rate_bp, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".") + "%"


def discounts(lines: Sequence[Line], discount_fen: int, title: str) -> list[Line]:
    """Lines that take `discount_fen` (> 0) off, one a utility and rate, in proportion."""
    sums: dict[str, int] = {}
    kinds: dict[str, Line] = {}
    for line in lines:
        key = f"{line.utility}:{line.treatment}:{line.rate_bp}"
        sums[key] = sums.get(key, 0) + line.amount_fen
        kinds.setdefault(key, line)
    parts = largest_remainder(discount_fen, sums)
    return [
        taxed(
            Line(title, -part, utility=kinds[key].utility),
            kinds[key].treatment,
            kinds[key].rate_bp,
        )
        for key, part in parts.items()
        if part
    ]


def taken_back(
    lines: Sequence[Line], earlier: Sequence[Line], amount_fen: int, title: str
) -> list[Line]:
    """The lines of a red-letter paper that takes `amount_fen` (> 0) of these lines back.

    `earlier`: what has been taken back already (negative).  All that is left goes line by line,
    to the last fen of tax; a part is taken from each rate in proportion to what is left of it.
    ValueError where less is left.
    """
    left = sum(line.amount_fen for line in (*lines, *earlier))
    if not 0 < amount_fen <= left:
        raise ValueError(f"{amount_fen} fen of {left}")
    if not earlier and amount_fen == left:
        return [
            replace(
                line,
                amount_fen=-line.amount_fen,
                tax_fen=-line.tax_fen,
                quantity=_minus(line),
                days=tuple((day, -fen) for day, fen in line.days),
            )
            for line in lines
        ]
    return _part_back(lines, earlier, amount_fen, title)


def _minus(line: Line) -> Decimal | None:
    return None if line.quantity is None else -line.quantity


def _part_back(
    lines: Sequence[Line], earlier: Sequence[Line], amount_fen: int, title: str
) -> list[Line]:
    """A share of what is left at each rate; a rate that ends takes its last fen of tax along."""
    groups: dict[str, list[Line]] = {}
    for line in (*lines, *earlier):
        groups.setdefault(f"{line.utility}:{line.treatment}:{line.rate_bp}", []).append(line)
    left = {key: sum(line.amount_fen for line in group) for key, group in groups.items()}
    if amount_fen == sum(left.values()):
        parts = left
    else:
        parts = largest_remainder(amount_fen, {k: v for k, v in left.items() if v > 0})
    return [
        replace(line, title=title)
        for key, part in parts.items()
        if part or part == left[key]
        for line in (_rest(groups[key]) if part == left[key] else _share(groups[key], part))
    ]


def _by_subject(group: Sequence[Line]) -> dict[str, list[Line]]:
    """Lines by what they stand for: a bill, a month of deductions, or neither (a discount)."""
    subjects: dict[str, list[Line]] = {}
    for line in group:
        month = f"{line.days[0][0]:%Y-%m}" if line.days else ""
        subjects.setdefault(f"{line.bill_id or 0:020d}:{month}", []).append(line)
    return subjects


def _rest(group: Sequence[Line]) -> list[Line]:
    """All that is left of a rate, bill by bill and month by month."""
    made = [
        _back(lines, sum(line.amount_fen for line in lines), sum(line.tax_fen for line in lines))
        for lines in _by_subject(group).values()
    ]
    return [line for line in made if line.amount_fen or line.tax_fen]


def _share(group: Sequence[Line], part_fen: int) -> list[Line]:
    """A part of what is left of a rate, over its bills in proportion; never more tax than left."""
    subjects = _by_subject(group)
    left = {key: sum(line.amount_fen for line in lines) for key, lines in subjects.items()}
    amounts = largest_remainder(part_fen, {key: fen for key, fen in left.items() if fen > 0})
    rate_bp = group[0].rate_bp
    tax_fen = 0 if rate_bp is None else tax_within(part_fen, rate_bp)
    tax_fen = min(tax_fen, max(0, sum(line.tax_fen for line in group)))
    taxes = largest_remainder(tax_fen, amounts)
    return [_back(subjects[key], fen, taxes[key]) for key, fen in amounts.items() if fen]


def _back(lines: Sequence[Line], amount_fen: int, tax_fen: int) -> Line:
    """The line that takes so much of these back; they stand for one bill or month, at one rate."""
    first = lines[0]
    return Line(
        "",
        -amount_fen,
        first.utility,
        first.bill_id,
        treatment=first.treatment,
        rate_bp=first.rate_bp,
        tax_fen=-tax_fen,
        days=_days_back(lines, amount_fen),
    )


def _days_back(lines: Sequence[Line], amount_fen: int) -> tuple[tuple[date, int], ...]:
    """From which days' deductions a sum is taken back: the newest first."""
    left: dict[date, int] = {}
    for line in lines:
        for day, fen in line.days:
            left[day] = left.get(day, 0) + fen
    made = []
    for day in sorted(left, reverse=True):
        part_fen = min(left[day], amount_fen)
        if part_fen > 0:
            made.append((day, -part_fen))
            amount_fen -= part_fen
    return tuple(sorted(made))


def may_void(kind: str, issued_on: date, today: date) -> bool:
    """A receipt on its own day, an invoice in its own month; afterwards only red letters."""
    if kind == "receipt":
        return issued_on == today
    return (issued_on.year, issued_on.month) == (today.year, today.month)


_DIGITS = "零壹贰叁肆伍陆柒捌玖"
_TENS = ("", "拾", "佰", "仟")
_GROUPS = ("", "万", "亿", "万亿")


def capitals(amount_fen: int) -> str:
    """A sum in capitals: 12030 -> '壹佰贰拾元叁角整', 101005 -> '壹仟零壹拾元零伍分'.

    《支付结算办法》附一《正确填写票据和结算凭证的基本规定》: 整 after yuan and jiao, none after
    fen; one 零 for any run of zeros between digits; 零 before fen where there is no jiao.
    A negative sum begins with 负.  ValueError beyond 9,999 万亿.
    """
    yuan, cents = divmod(abs(amount_fen), 100)
    jiao, fen = divmod(cents, 10)
    text = _whole(yuan) + "元" if yuan else ""
    if not cents:
        return ("负" if amount_fen < 0 else "") + (text or "零元") + "整"
    if jiao:
        text += _DIGITS[jiao] + "角"
    elif yuan:
        text += "零"
    text += _DIGITS[fen] + "分" if fen else "整"
    return ("负" if amount_fen < 0 else "") + text


def _whole(yuan: int) -> str:
    groups = []
    while yuan:
        yuan, group = divmod(yuan, 10_000)
        groups.append(group)
    if len(groups) > len(_GROUPS):
        raise ValueError("a sum beyond 9,999 万亿 yuan")
    text = ""
    gap = False
    for power in range(len(groups) - 1, -1, -1):
        group = groups[power]
        if not group:
            gap = bool(text)
            continue
        if text and (gap or group < 1000):
            text += "零"
        text += _group(group) + _unit(power, groups)
        gap = False
    return text


def _unit(power: int, groups: Sequence[int]) -> str:
    """万 of 万亿 is written with its 亿 only where no 亿 follows by itself."""
    if power == 3:
        return "万" if groups[2] else "万亿"
    return _GROUPS[power]


def _group(group: int) -> str:
    """1 to 9999."""
    text, gap = "", False
    for place in range(3, -1, -1):
        digit = group // 10**place % 10
        if digit:
            text += ("零" if gap else "") + _DIGITS[digit] + _TENS[place]
            gap = False
        else:
            gap = bool(text)
    return text
