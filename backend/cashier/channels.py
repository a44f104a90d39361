"""Payment channels by name: which are set up, how each is built, and what its statements are.

Built once an application from its settings.  A channel whose merchant number is empty is not set
up: nobody can pay by it, and no day waits for its statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from flask import Flask, current_app

from backend.base.errors import Problem
from backend.cashier.collection_channel import BankCollection
from backend.cashier.rules import BANK
from backend.config import SettingError, Settings
from payments.alipay import Alipay, AlipayConfig
from payments.alipay_statement import fingerprinted, parse_alipay_bill
from payments.channel import PaymentChannel
from payments.http import Clock
from payments.statement import Statement
from payments.unionpay import UnionPay, UnionPayConfig
from payments.unionpay_statement import parse_unionpay_zm
from payments.wechat import WeChatPay, WeChatPayConfig
from payments.wechat_statement import parse_wechat_tradebill


@dataclass(frozen=True, slots=True)
class Kind:
    """One channel's part in the cashier.

    parse         a statement's bytes -> rows (settings, data, day)
    refund_within  how long after a payment the channel still gives back
    refund_times  how often in part, at most (None: not known to be limited)
    day_ends_early  how long before midnight the channel's own day ends
    fingerprint   a statement without what differs each time it is fetched
    online        False where money is collected by files alone (banks): nobody pays by it, and its
                  proof is the bank account's (cashier.bank_day)
    """

    is_set_up: Callable[[Settings], bool]
    build: Callable[[Settings, Clock], PaymentChannel]
    parse: Callable[[Settings, bytes, date], Statement]
    webhook: str
    refund_within: timedelta = timedelta(days=365)
    refund_times: int | None = None
    day_ends_early: timedelta = timedelta(0)
    fingerprint: Callable[[bytes], bytes] = bytes
    online: bool = True


def set_up() -> tuple[str, ...]:
    """The names of the channels residents can pay by and a statement is fetched of."""
    settings: Settings = current_app.extensions["nuan_settings"]
    return tuple(n for n, kind in KINDS.items() if kind.online and kind.is_set_up(settings))


def channel_for(name: str) -> PaymentChannel:
    """The channel `name`; Problem channel_unknown where it is not set up."""
    if name not in KINDS or not KINDS[name].is_set_up(current_app.extensions["nuan_settings"]):
        raise Problem("channel_unknown")
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    built: dict[str, PaymentChannel] = app.extensions.setdefault("nuan_channels", {})
    if name not in built:
        built[name] = _build(name, app)
    return built[name]


def parse_statement(name: str, data: bytes, day: date) -> Statement:
    """A channel's statement file -> rows; payments.statement.StatementError where it is broken."""
    return _kind(name).parse(current_app.extensions["nuan_settings"], data, day)


def fingerprint(name: str, data: bytes) -> bytes:
    """What must be the same in two files of the same day."""
    return _kind(name).fingerprint(data)


def day_ends_early(name: str) -> timedelta:
    """How long before midnight the channel's own day ends (UnionPay's at 23:00)."""
    return _kind(name).day_ends_early


def refund_limits(name: str) -> tuple[timedelta, int | None]:
    """How long after a payment, and how often in part, a channel gives money back."""
    kind = _kind(name)
    return kind.refund_within, kind.refund_times


def notify_url(name: str) -> str:
    """Where the channel sends its notices."""
    base: str = current_app.extensions["nuan_settings"].public_url
    return f"{base.rstrip('/')}/webhooks/{_kind(name).webhook}"


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise Problem("channel_unknown")
    return KINDS[name]


def _build(name: str, app: Flask) -> PaymentChannel:
    settings: Settings = app.extensions["nuan_settings"]
    try:
        return KINDS[name].build(settings, app.extensions["nuan_clock"].now)
    except ValueError as error:
        raise SettingError(f"the settings of {name} do not work: {error}") from None


def _wechat(settings: Settings, clock: Clock) -> PaymentChannel:
    return WeChatPay(_wechat_config(settings), clock)


def _wechat_config(settings: Settings) -> WeChatPayConfig:
    return WeChatPayConfig(
        mchid=settings.wxpay_mchid,
        appid=settings.wechat_appid,
        merchant_serial=settings.wxpay_serial,
        merchant_key_pem=_file("NUAN_WXPAY_PRIVATE_KEY_FILE", settings.wxpay_private_key_file),
        api_v3_key=settings.wxpay_apiv3_key.encode(),
        public_keys=_public_keys(settings.wxpay_verifiers),
        base_url=settings.wxpay_api_url.rstrip("/"),
        official_appid=settings.wechat_oa_appid,
    )


def _alipay(settings: Settings, clock: Clock) -> PaymentChannel:
    config = AlipayConfig(
        app_id=settings.alipay_app_id,
        seller_id=settings.alipay_seller_id,
        private_key=_file("NUAN_ALIPAY_PRIVATE_KEY_FILE", settings.alipay_private_key_file),
        alipay_public_key=_file("NUAN_ALIPAY_PUBLIC_KEY_FILE", settings.alipay_public_key_file),
        gateway_url=settings.alipay_gateway_url,
    )
    return Alipay(config, clock)


def _unionpay(settings: Settings, clock: Clock) -> PaymentChannel:
    config = UnionPayConfig(
        mer_id=settings.unionpay_mer_id,
        signing_file=_file("NUAN_UNIONPAY_SIGN_FILE", settings.unionpay_sign_file),
        signing_password=settings.unionpay_sign_password,
        root_pem=_file("NUAN_UNIONPAY_ROOT_FILE", settings.unionpay_root_file),
        middle_pem=_file("NUAN_UNIONPAY_MIDDLE_FILE", settings.unionpay_middle_file),
        base_url=settings.unionpay_api_url.rstrip("/"),
        file_url=settings.unionpay_file_url,
    )
    return UnionPay(config, clock)


def _no_statement(settings: Settings, data: bytes, day: date) -> Statement:
    raise Problem("channel_unknown")


def _public_keys(text: str) -> dict[str, bytes]:
    """'PUB_KEY_ID_…=file, …'; platform certificates need not be named: they come by the API."""
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        serial, equals, path = pair.partition("=")
        if not equals or not serial.startswith("PUB_KEY_ID_"):
            raise SettingError(f"NUAN_WXPAY_VERIFIERS: {pair[:60]!r} is not PUB_KEY_ID_…=file")
        found[serial] = _file("NUAN_WXPAY_VERIFIERS", path)
    return found


def _file(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingError(f"{setting}: cannot read {path!r} ({error.strerror})") from None


def _wechat_rows(settings: Settings, data: bytes, day: date) -> Statement:
    return parse_wechat_tradebill(data, settings.wxpay_mchid)


def _alipay_rows(settings: Settings, data: bytes, day: date) -> Statement:
    return parse_alipay_bill(data, settings.alipay_seller_id)


def _unionpay_rows(settings: Settings, data: bytes, day: date) -> Statement:
    return parse_unionpay_zm(data, settings.unionpay_mer_id, day)


KINDS: dict[str, Kind] = {
    # WeChat Pay v3 (申请退款): within a year, 50 times.  Alipay's and UnionPay's year is what their
    # contracts usually say, not their documents: a longer one would only be refused here.
    "wechat": Kind(
        lambda s: bool(s.wxpay_mchid), _wechat, _wechat_rows, "wechatpay", refund_times=50
    ),
    "alipay": Kind(
        lambda s: bool(s.alipay_app_id), _alipay, _alipay_rows, "alipay", fingerprint=fingerprinted
    ),
    "unionpay": Kind(
        lambda s: bool(s.unionpay_mer_id),
        _unionpay,
        _unionpay_rows,
        "unionpay",
        day_ends_early=timedelta(hours=1),
    ),
    BANK: Kind(lambda s: True, lambda s, c: BankCollection(), _no_statement, "", online=False),
}
CHANNELS: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if kind.online)
