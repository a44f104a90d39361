"""Payment channels by name, built once an application from its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from backend.base.errors import Problem
from backend.config import SettingError, Settings
from payments.channel import PaymentChannel
from payments.statement import Statement
from payments.wechat import WeChatPay, WeChatPayConfig
from payments.wechat_statement import parse_wechat_tradebill

CHANNELS = ("wechat",)


def channel_for(name: str) -> PaymentChannel:
    """The channel `name`; Problem channel_unknown, SettingError where it is not set up."""
    if name not in CHANNELS:
        raise Problem("channel_unknown")
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    built: dict[str, PaymentChannel] = app.extensions.setdefault("nuan_channels", {})
    if name not in built:
        built[name] = _BUILDERS[name](app)
    return built[name]


def parse_statement(name: str, data: bytes) -> Statement:
    """A channel's statement file -> rows; payments.statement.StatementError where it is broken."""
    if name not in CHANNELS:
        raise Problem("channel_unknown")
    return parse_wechat_tradebill(data, current_app.extensions["nuan_settings"].wxpay_mchid)


def notify_url(name: str) -> str:
    """Where the channel sends its notices."""
    paths = {"wechat": "/webhooks/wechatpay"}
    base: str = current_app.extensions["nuan_settings"].public_url
    return base.rstrip("/") + paths[name]


def _wechat(app: Flask) -> PaymentChannel:
    settings: Settings = app.extensions["nuan_settings"]
    clock = app.extensions["nuan_clock"]
    try:
        return WeChatPay(_wechat_config(settings), clock.now)
    except ValueError as error:
        raise SettingError(f"the NUAN_WXPAY_ settings do not work: {error}") from None


def _wechat_config(settings: Settings) -> WeChatPayConfig:
    return WeChatPayConfig(
        mchid=settings.wxpay_mchid,
        appid=settings.wechat_appid,
        merchant_serial=settings.wxpay_serial,
        merchant_key_pem=_file("NUAN_WXPAY_PRIVATE_KEY_FILE", settings.wxpay_private_key_file),
        api_v3_key=settings.wxpay_apiv3_key.encode(),
        public_keys=_public_keys(settings.wxpay_verifiers),
        base_url=settings.wxpay_api_url.rstrip("/"),
    )


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


_BUILDERS: dict[str, Callable[[Any], PaymentChannel]] = {"wechat": _wechat}
