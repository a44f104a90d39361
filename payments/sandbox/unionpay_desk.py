"""UnionPay's words for the sandbox's orders and refunds, its notices and its statement."""

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import rsa

from payments import rsa2
from payments.sandbox.desk import Sandbox, order_of
from payments.sandbox.keys import read_private_key
from payments.sandbox.party import Told, long_number
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING, BillRow
from payments.sandbox.unionpay_keys import UnionPayKeys
from payments.unionpay_crypto import SIGN_METHOD, VERSION, digest
from payments.unionpay_statement import WIDTHS

CHANNEL = "unionpay"
REPEATS_S = (60, 120, 240, 900, 1800)
# What the desk refuses -> respCode.
REFUSALS = {
    "not_found": "34",
    "paid": "12",
    "closed": "12",
    "inconsistent": "12",
    "not_paid": "34",
    "total_differs": "36",
    "too_much": "36",
    "too_often": "36",
    "too_late": "38",
    "not_enough": "64",
    "refund_not_found": "34",
}
_TWISTS = {"wrong_mchid": {"merId": "999999999999999"}, "wrong_currency": {"currencyCode": "840"}}


def beijing(seconds: float, form: str = "%Y%m%d%H%M%S") -> str:
    """A moment as UnionPay writes it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(BEIJING).strftime(form)


class UnionPayParty:
    """UnionPay as the desk and the notifier know it."""

    repeats_s: Sequence[float] = REPEATS_S

    def __init__(self, keys: UnionPayKeys) -> None:
        self.keys = keys
        self._key = read_private_key(keys.gateway_key_path)
        self._certificate = keys.gateway_cert_path.read_text().replace("\n", "\r\n")
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def signed(self, fields: Mapping[str, str], mode: str = "") -> dict[str, str]:
        """The fields with signature and certificate; `mode` spoils them to order."""
        whole = {name: value for name, value in fields.items() if value} | {
            "version": VERSION,
            "encoding": "UTF-8",
            "signMethod": SIGN_METHOD,
            "signPubKeyCert": self._certificate,
        }
        if mode == "wrong_serial":
            whole["signPubKeyCert"] = self.keys.sign_cert_path.read_text()
        if mode == "unsigned":
            return whole
        key = self._stranger if mode == "forged_signature" else self._key
        return whole | {"signature": rsa2.sign(key, digest(whole))}

    def transaction_no(self, box: Sandbox, moment_s: float) -> str:
        """queryId, 21 digits: the moment and a running number."""
        return long_number(box, beijing(moment_s), "", 7)

    def refund_no(self, box: Sandbox, moment_s: float) -> str:
        """A refund has a queryId too."""
        return self.transaction_no(box, moment_s)

    def paid(self, box: Sandbox, order: Row) -> Told:
        """The background notice of a consumption."""
        return "01", self.told(order, order["out_trade_no"], order["total_fen"])

    def refunded(self, box: Sandbox, refund: Row) -> Told | None:
        """The background notice of a refund; only successes are told."""
        if refund["status"] != "SUCCESS":
            return None
        return "REFUND", self.told_refund(order_of(box, refund), refund)

    def told(self, order: Row, number: str, amount_fen: int) -> dict[str, str]:
        """A consumption as notices and queries tell it."""
        asked = json.loads(order["request"])
        paid_at = order["paid_at"] or order["created_at"]
        return {
            "txnType": "01",
            "txnSubType": "01",
            "bizType": "000201",
            "accessType": "0",
            "merId": self.keys.mer_id,
            "orderId": number,
            "txnTime": asked["txnTime"],
            "txnAmt": str(amount_fen),
            "currencyCode": "156",
            "queryId": order["transaction_id"] or "",
            "settleAmt": str(amount_fen),
            "settleCurrencyCode": "156",
            "settleDate": beijing(paid_at + 3600, "%m%d"),
            "traceNo": (order["transaction_id"] or "000000")[-6:],
            "traceTime": beijing(paid_at, "%m%d%H%M%S"),
            "accNo": "6216***********0018",
            "respCode": "00",
            "respMsg": "成功[0000000]",
        }

    def told_refund(self, order: Row, refund: Row) -> dict[str, str]:
        """A refund as notices and queries tell it."""
        done_at = refund["success_at"] or refund["created_at"]
        return self.told(order, refund["out_refund_no"], refund["refund_fen"]) | {
            "txnType": "04",
            "txnSubType": "00",
            "txnTime": refund["out_refund_no"][1:15],
            "queryId": refund["refund_id"],
            "origQryId": order["transaction_id"],
            "traceNo": refund["refund_id"][-6:],
            "traceTime": beijing(done_at, "%m%d%H%M%S"),
        }

    def compose(
        self, box: Sandbox, notice: Row, mode: str, twist: dict[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """The form, signed."""
        fields = json.loads(notice["plain"]) | _TWISTS.get(mode, {})
        if mode == "wrong_amount":
            fields["txnAmt"] = str(int(twist.get("amount_fen", 1)))
        if mode == "malformed":
            del fields["txnAmt"]
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        return urlencode(self.signed(fields, mode)).encode(), headers

    def is_taken(self, status: int, body: bytes) -> bool:
        """Any 200."""
        return status == 200


def file_content(rows: Sequence[BillRow], mer_id: str, day: date) -> str:
    """fileContent: base64(zlib(zip of the ZM file))."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        name = f"INN{day:%y%m%d}88ZM_{mer_id}"
        archive.writestr(name, b"".join(_line(row, mer_id) for row in rows))
    return base64.b64encode(zlib.compress(out.getvalue())).decode()


def _line(row: BillRow, mer_id: str) -> bytes:
    is_refund = bool(row.refund_id)
    net = row.amount_fen - row.fee_fen if not is_refund else -row.amount_fen - row.fee_fen
    shown = {
        1: "S56" if is_refund else "S22",
        4: (row.refund_id or row.transaction_id)[-6:],
        5: row.at.astimezone(BEIJING).strftime("%m%d%H%M%S"),
        6: "6216260000000000018",
        7: f"{row.amount_fen:012d}",
        10: row.refund_id or row.transaction_id,
        12: row.out_refund_no or row.out_trade_no,
        16: _signed(-row.fee_fen),
        17: _signed(net),
        20: "04" if is_refund else "01",
        27: row.transaction_id if is_refund else "",
        28: mer_id,
        33: _signed(net),
    }
    columns = [
        shown.get(number, "").encode("gbk").ljust(width)[:width]
        for number, width in enumerate(WIDTHS, 1)
    ]
    return b" ".join(columns) + b"\r\n"


def _signed(fen: int) -> str:
    """C for what comes to the merchant, D for what it gives, and 12 digits."""
    return f"{'C' if fen >= 0 else 'D'}{abs(fen):012d}"
