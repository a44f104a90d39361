"""A bill's lines: what was used, at what price, what it comes to, and the sentence that says so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from backend.base.exact import Number, exact, plain, to_decimal
from backend.base.money import fen_of, yuan_str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill.

    `amount_fen` is quantity x price, rounded half-up once (detail may hold a further 'ratio', or
    say what else it comes from). `price` in yuan a unit. `detail` keeps numbers and ids as JSON.
    """

    code: str
    title_zh: str
    quantity: Decimal
    unit: str
    price: Decimal
    amount_fen: int
    detail: Mapping[str, object] = field(default_factory=dict)


def priced(
    code: str, title_zh: str, quantity: Number, unit: str, price: Number, **detail: object
) -> Line:
    """A line of quantity x price, half-up to the fen."""
    amount_fen = fen_of(exact(quantity) * exact(price))
    quantity, price = to_decimal(exact(quantity)), to_decimal(exact(price))
    return Line(code, title_zh, quantity, unit, price, amount_fen, detail)


def adjusted(code: str, title_zh: str, amount_fen: int, **detail: object) -> Line:
    """A line that is a sum of its own (a cap's relief, a refund) rather than quantity x price."""
    yuan = Decimal(amount_fen).scaleb(-2)
    return Line(code, title_zh, Decimal(1), "项", yuan, amount_fen, detail)


def total_fen(lines: Iterable[Line]) -> int:
    """The bill: each line is already rounded, then they are summed."""
    return sum(line.amount_fen for line in lines)


def explain_zh(line: Line) -> str:
    """The line as a sentence a resident can check with a pocket calculator."""
    if "explain_zh" in line.detail:
        return f"{line.title_zh}：{line.detail['explain_zh']}"
    quantity, price = exact(line.quantity), exact(line.price)
    product = quantity * price
    text = f"{line.title_zh}：{plain(quantity, 12)} {line.unit} × {plain(price)} 元/{line.unit}"
    if "ratio" in line.detail:
        ratio = exact(Decimal(str(line.detail["ratio"])))
        product *= ratio
        text += f" × {plain(ratio * 100)}%"
    return f"{text} {_equals_zh(plain(product, 15), line.amount_fen)}"


def _equals_zh(product: str, amount_fen: int) -> str:
    """'= 12.34 元', or with the unrounded product where rounding did something."""
    amount = yuan_str(amount_fen)
    if exact(Decimal(product)) == exact(Decimal(amount)):
        return f"= {amount} 元"
    return f"= {product} 元，四舍五入到分为 {amount} 元"
