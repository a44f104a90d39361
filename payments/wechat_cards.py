"""异常退款: a refund the payer's account could not take, sent on to a bank card (WeChat Pay v3).

The card's number and holder are sealed for the platform the moment they are typed, and kept only
so: nobody on our side can open them again, neither from the database nor from a log.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from payments.channel import RefundState

# 发起异常退款: only debit cards of these banks are paid to; names as in WeChat's 银行类型.
BANKS_ZH = {
    "CMB_DEBIT": "招商银行",
    "COMM_DEBIT": "交通银行",
    "ABC_DEBIT": "农业银行",
    "CCB_DEBIT": "建设银行",
    "ICBC_DEBIT": "工商银行",
    "BOC_DEBIT": "中国银行",
    "PAB_DEBIT": "平安银行",
    "SPDB_DEBIT": "浦发银行",
    "CITIC_DEBIT": "中信银行",
    "CEB_DEBIT": "光大银行",
    "CMBC_DEBIT": "民生银行",
    "CIB_DEBIT": "兴业银行",
    "GDB_DEBIT": "广发银行",
    "PSBC_DEBIT": "邮储银行",
    "NBCB_DEBIT": "宁波银行",
}
MAX_HOLDER = 40
_NUMBER = re.compile(r"[0-9]{12,19}")


@dataclass(frozen=True, slots=True)
class BankCard:
    """A payer's debit card as it was typed; ValueError('bank', 'number' or 'holder') says what."""

    bank: str
    number: str = field(repr=False)
    holder: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.bank not in BANKS_ZH:
            raise ValueError("bank")
        if not _NUMBER.fullmatch(self.number) or not _luhn(self.number):
            raise ValueError("number")
        if not 2 <= len(self.holder) <= MAX_HOLDER or not self.holder.isprintable():
            raise ValueError("holder")


@dataclass(frozen=True, slots=True)
class SealedCard:
    """The same, closed for the platform: `serial` names the key, `tail` the last four digits."""

    bank: str
    tail: str
    serial: str
    number: str = field(repr=False)
    holder: str = field(repr=False)

    def words(self) -> str:
        """'工商银行 尾号 1234', as people may see it."""
        return f"{BANKS_ZH.get(self.bank, self.bank)} 尾号 {self.tail}"

    def body(self, out_refund_no: str) -> Mapping[str, Any]:
        """What apply-abnormal-refund takes."""
        return {
            "out_refund_no": out_refund_no,
            "type": "USER_BANK_CARD",
            "bank_type": self.bank,
            "bank_account": self.number,
            "real_name": self.holder,
        }


@runtime_checkable
class SendsToCards(Protocol):
    """A channel that sends an abnormal refund on to a card."""

    def seal_card(self, card: BankCard) -> SealedCard:
        """Close a card for the channel; ChannelError where its key cannot be had."""

    def refund_to_card(
        self, out_trade_no: str, out_refund_no: str, card: SealedCard
    ) -> RefundState:
        """Send it on where it still is abnormal; else what it has become. ChannelError."""


def sealed(card: BankCard, serial: str, key: RSAPublicKey) -> SealedCard:
    """Close a card's number and holder for the owner of `key`."""
    return SealedCard(
        bank=card.bank,
        tail=card.number[-4:],
        serial=serial,
        number=seal(key, card.number),
        holder=seal(key, card.holder),
    )


def seal(key: RSAPublicKey, text: str) -> str:
    """敏感信息加密: RSAES-OAEP with SHA-1 and MGF1-SHA-1, base64."""
    return base64.b64encode(key.encrypt(text.encode(), _oaep())).decode("ascii")


def opened(key: RSAPrivateKey, text: str) -> str:
    """What was sealed; ValueError where it is not for this key."""
    return key.decrypt(base64.b64decode(text, validate=True), _oaep()).decode()


def _oaep() -> OAEP:
    return OAEP(MGF1(hashes.SHA1()), hashes.SHA1(), None)


def _luhn(number: str) -> bool:
    """The check digit of ISO/IEC 7812-1: a slip of one digit is no card."""
    digits = [int(sign) for sign in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
