"""Every setting, read once from the environment, documented once.

`SETTINGS` is the only list: `docs/settings.md` is generated from it (`nuan settings --markdown`),
and a test fails when the page and the list differ.  Secrets come only from the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class SettingError(Exception):
    """A setting is missing or malformed; the message says which one and what to do."""


@dataclass(frozen=True)
class Setting:
    """One setting: its environment variable, type, default and what it is for."""

    env: str
    kind: type
    default: Any
    help: str
    secret: bool = False
    production: bool = False  # must be given when NUAN_ENV=production

    @property
    def field(self) -> str:
        """The attribute of `Settings` it is read into: NUAN_HTTP_PORT -> http_port."""
        return self.env.removeprefix("NUAN_").lower()


S = Setting
SETTINGS: tuple[Setting, ...] = (
    S(
        "NUAN_ENV",
        str,
        "demo",
        "demo, test or production; production refuses the sandbox and "
        "insists on every setting marked so",
    ),
    S(
        "DATABASE_URL",
        str,
        "",
        "PostgreSQL to use (postgresql://user:password@host/name); empty "
        "starts the embedded one under NUAN_VAR_DIR",
        secret=True,
        production=True,
    ),
    S("NUAN_VAR_DIR", str, "var", "where the embedded database, demo keys and spools live"),
    S(
        "NUAN_SECRET_KEY",
        str,
        "",
        "signs console sessions; 32 random characters or more",
        secret=True,
        production=True,
    ),
    S(
        "NUAN_SEAL_KEY",
        str,
        "",
        "base64 of 32 bytes; seals names and phone numbers at rest",
        secret=True,
        production=True,
    ),
    S("NUAN_HTTP_HOST", str, "127.0.0.1", "address the web server listens on"),
    S("NUAN_HTTP_PORT", int, 8000, "port the web server listens on"),
    S("NUAN_WEB_WORKERS", int, 1, "web server processes"),
    S(
        "NUAN_PUBLIC_URL",
        str,
        "http://127.0.0.1:8000",
        "address residents and channels reach Nuan at; payment notices are sent below it",
        production=True,
    ),
    S("NUAN_LOG_LEVEL", str, "INFO", "DEBUG, INFO, WARNING or ERROR"),
    S("NUAN_DB_POOL", int, 5, "database connections a process keeps at most"),
    S("NUAN_RATE_LIMITS", bool, True, "limit sign-in and binding attempts per address"),
    S(
        "NUAN_RATE_LIMIT_STORE",
        str,
        "memory://",
        "where the attempts are counted (Flask-Limiter "
        "storage address); shared between machines it should be a Redis or Memcached",
    ),
    S("NUAN_COMPANY", str, "暖阳热力有限公司", "the heating company's name, as residents read it"),
    S(
        "NUAN_H5_DIR",
        str,
        "miniapp/dist/build/h5",
        "the residents' pages as built, relative to the project",
    ),
    S("NUAN_SEASON_START", str, "10-20", "first day of the heating season, month-day"),
    S("NUAN_SEASON_END", str, "04-20", "last day of the heating season, month-day"),
    S(
        "NUAN_TRUSTED_PROXIES",
        int,
        0,
        "how many proxies of ours stand in front: their X-Forwarded-For tells whose address "
        "attempts are counted for",
    ),
    S("NUAN_TOKEN_DAYS", int, 30, "days a resident or reader stays signed in"),
    S("NUAN_WECHAT_APPID", str, "", "the mini-program's appid", production=True),
    S("NUAN_WECHAT_SECRET", str, "", "the mini-program's secret", secret=True, production=True),
    S(
        "NUAN_WECHAT_OA_APPID",
        str,
        "",
        "appid of the official account behind the H5 pages; empty: the mini-program's",
    ),
    S(
        "NUAN_WECHAT_OA_SECRET",
        str,
        "",
        "the official account's secret; empty: the mini-program's",
        secret=True,
    ),
    S("NUAN_WECHAT_API_URL", str, "https://api.weixin.qq.com", "the WeChat API's address"),
    S(
        "NUAN_WECHAT_OAUTH_URL",
        str,
        "https://open.weixin.qq.com/connect/oauth2/authorize",
        "where the H5 pages send a resident to sign in",
    ),
    S(
        "NUAN_WECHAT_BRIDGE_URL",
        str,
        "",
        "a script that stands in for WeChat's own bridge in a "
        "plain browser; only the sandbox has one",
    ),
    S(
        "NUAN_WECHAT_OVERDUE_TEMPLATE",
        str,
        "",
        "subscribe-message template of the overdue reminder",
        production=True,
    ),
    S(
        "NUAN_WECHAT_LOW_BALANCE_TEMPLATE",
        str,
        "",
        "subscribe-message template of a low prepaid balance; empty: nobody is told",
    ),
    S("NUAN_WXPAY_API_URL", str, "https://api.mch.weixin.qq.com", "WeChat Pay v3's address"),
    S("NUAN_WXPAY_MCHID", str, "", "WeChat Pay merchant number", production=True),
    S("NUAN_WXPAY_SERIAL", str, "", "serial of the merchant's certificate", production=True),
    S("NUAN_WXPAY_PRIVATE_KEY_FILE", str, "", "the merchant's private key, PEM", production=True),
    S("NUAN_WXPAY_APIV3_KEY", str, "", "the 32-byte APIv3 key", secret=True, production=True),
    S(
        "NUAN_WXPAY_VERIFIERS",
        str,
        "",
        "the public keys answers are verified by: PUB_KEY_ID_…=file pairs, comma separated "
        "(platform certificates are fetched by themselves)",
        production=True,
    ),
    S("NUAN_ALIPAY_APP_ID", str, "", "Alipay app id; empty: no Alipay"),
    S("NUAN_ALIPAY_SELLER_ID", str, "", "the merchant's PID (2088…)"),
    S("NUAN_ALIPAY_PRIVATE_KEY_FILE", str, "", "the app's private key, PEM or bare base64"),
    S("NUAN_ALIPAY_PUBLIC_KEY_FILE", str, "", "Alipay's public key, PEM or bare base64"),
    S(
        "NUAN_ALIPAY_GATEWAY_URL",
        str,
        "https://openapi.alipay.com/gateway.do",
        "address of Alipay's gateway",
    ),
    S("NUAN_UNIONPAY_MER_ID", str, "", "UnionPay merchant number, 15 digits; empty: no UnionPay"),
    S(
        "NUAN_UNIONPAY_SIGN_FILE",
        str,
        "",
        "the merchant's certificate with key, .pfx or PEM",
    ),
    S("NUAN_UNIONPAY_SIGN_PASSWORD", str, "", "what the .pfx opens with", secret=True),
    S("NUAN_UNIONPAY_ROOT_FILE", str, "", "UnionPay's root certificate, PEM"),
    S("NUAN_UNIONPAY_MIDDLE_FILE", str, "", "the certificate below it, PEM"),
    S("NUAN_UNIONPAY_API_URL", str, "https://gateway.95516.com", "address of UnionPay's gateway"),
    S(
        "NUAN_UNIONPAY_FILE_URL",
        str,
        "https://filedownload.95516.com/",
        "where UnionPay's statements are fetched",
    ),
    S("NUAN_READ_INTERVAL_S", int, 10, "seconds between live readings of the demo's buses"),
    S("NUAN_BUS_TIMEOUT_S", int, 3, "seconds a meter is given to answer"),
    S(
        "NUAN_CLOCK_DRIFT_S",
        int,
        300,
        "seconds a meter's clock may be off before its readings are flagged clock_drift",
    ),
    S(
        "NUAN_DLT645_PASSWORD",
        str,
        "",
        "level and password of DL/T 645 relay orders, eight digits; empty: none is sent",
        secret=True,
    ),
    S(
        "NUAN_DLT645_OPERATOR",
        str,
        "00000000",
        "the operator's number such an order carries, eight digits",
    ),
    S("NUAN_DTU_HOST", str, "0.0.0.0", "address the collector listens on for DTUs"),
    S(
        "NUAN_STUCK_DAYS",
        int,
        7,
        "a register without movement for so many days is flagged while water flows or half of "
        "its neighbours move",
    ),
    S("NUAN_DTU_PORT", int, 0, "port DTUs dial (buses named dtu://<id>); 0: none"),
    S(
        "NUAN_CONCENTRATOR_HOST",
        str,
        "0.0.0.0",
        "address the collector listens on for concentrators (Q/GDW 376.1)",
    ),
    S(
        "NUAN_CONCENTRATOR_PORT",
        int,
        0,
        "port concentrators dial (buses named concentrator://<a1>-<a2>); 0: none",
    ),
    S("NUAN_CONCENTRATOR_TIMEOUT_S", int, 10, "seconds a concentrator is given for a frame"),
    S(
        "NUAN_CONCENTRATOR_PASSWORD",
        str,
        "",
        "PW of what concentrators are told to do, 32 hexadecimal digits (2005: 4); empty: zeros",
        secret=True,
    ),
    S(
        "NUAN_SPOOL_MB",
        int,
        256,
        "most megabytes a collector keeps on disk of what it read while the database was away",
    ),
    S("NUAN_PUSH_HOST", str, "127.0.0.1", "address `nuan collect` takes platforms' pushes at"),
    S("NUAN_PUSH_PORT", int, 0, "its port; 0: no platform pushes over HTTP"),
    S(
        "NUAN_PUSH_SECRETS",
        str,
        "",
        "the secret in each platform's URL, /push/<platform>/<secret>: ctwing=…,onenet=…, "
        "16 letters and digits or more",
        secret=True,
    ),
    S("NUAN_PUSH_ONENET_TOKEN", str, "", "the token OneNET signs its pushes with", secret=True),
    S(
        "NUAN_PUSH_ONENET_KEY",
        str,
        "",
        "the 43-character key OneNET encrypts its pushes with, where that is switched on",
        secret=True,
    ),
    S(
        "NUAN_FIELD_MAPS_DIR",
        str,
        "",
        "directory of field maps (*.toml) of the company's own, over those that come with Nuan",
    ),
    S(
        "NUAN_FILE_PROFILES_DIR",
        str,
        "",
        "directory of layouts (*.toml) of the company's own handhelds' files, over those that "
        "come with Nuan",
    ),
    S(
        "NUAN_MQTT_URL",
        str,
        "",
        "MQTT broker of LoRa network servers, mqtt://user:password@host:port or mqtts://; "
        "give it to one collector only",
        secret=True,
    ),
    S(
        "NUAN_MQTT_CA_FILE",
        str,
        "",
        "PEM of the authority that signed the broker's certificate; empty: the machine's",
    ),
    S("NUAN_MQTT_CERT_FILE", str, "", "our certificate (PEM), where the broker asks for one"),
    S("NUAN_MQTT_KEY_FILE", str, "", "its private key (PEM)"),
    S(
        "NUAN_MQTT_CLIENT_ID",
        str,
        "nuan-collect",
        "who the broker keeps the session for; each collector has its own",
    ),
    S(
        "NUAN_MQTT_TOPICS",
        str,
        "chirpstack=application/+/device/+/event/up",
        "what is subscribed there: platform=topic pairs, comma separated",
    ),
    S(
        "NUAN_COUNTER_VOID_LIMIT_FEN",
        int,
        50000,
        "fen above which a counter payment is voided by two persons",
    ),
    S(
        "NUAN_COUNTER_DIFFERENCE_LIMIT_FEN",
        int,
        1000,
        "fen a drawer or a card terminal may be over or short before a second person signs",
    ),
    S(
        "NUAN_SIMILAR_HOMES",
        int,
        10,
        "homes a group must have before a bill is compared with it (5 or more)",
    ),
    S("NUAN_TOPUP_MIN_FEN", int, 100, "least a resident may top up at once, in fen"),
    S("NUAN_TOPUP_MAX_FEN", int, 500000, "most a resident may top up at once, in fen"),
    S(
        "NUAN_TOPUP_DAY_FEN",
        int,
        1000000,
        "most a household may top up on one day, open orders counted, in fen",
    ),
    S(
        "NUAN_LATE_PAYMENT",
        str,
        "accept",
        "a payment made after its order had expired: accept, refund or park (for a person)",
    ),
    S(
        "NUAN_REFUND_LIMIT_FEN",
        int,
        50000,
        "fen of one order above which a refund, or parked money moved, needs a second person",
    ),
    S(
        "NUAN_PAPER_LIMIT_FEN",
        int,
        100000,
        "fen above which a receipt or an invoice is voided or taken back (红冲) by two persons",
    ),
    S(
        "NUAN_PAPER_AUTO_RED",
        bool,
        False,
        "take back by itself, up to that limit, what papers say more than was paid and kept; "
        "otherwise it waits on the worklist",
    ),
    S("NUAN_COUNTER_BANK", str, "main", "bank account (ledger name) floats come from and go to"),
    S(
        "NUAN_BANK_FORMATS_DIR",
        str,
        "",
        "directory of formats (*.toml) of the company's own banks' and acquirers' files, over "
        "those that come with Nuan",
    ),
    S(
        "NUAN_PAYOUT_WORDS",
        str,
        "财付通=wechat,支付宝=alipay,银联商务=unionpay",
        "by what word in a bank account's movement a channel's payout is known: word=channel pairs",
    ),
    S(
        "NUAN_VOUCHER_FORMATS_DIR",
        str,
        "",
        "directory of formats (*.toml) of the company's own ERP's vouchers, over those that come "
        "with Nuan",
    ),
    S("NUAN_SANDBOX_PORT", int, 8001, "port of the outside parties' sandbox"),
    S("NUAN_METER_PORT", int, 8100, "first port of the simulated buses"),
    S("NUAN_REMINDER_HOUR", int, 10, "hour of the day (Asia/Shanghai) reminders leave"),
    S("NUAN_QUIET_HOURS", str, "21:00-08:00", "when no message leaves (Asia/Shanghai); or off"),
    S(
        "NUAN_LOW_BALANCE_REPEAT_DAYS",
        int,
        0,
        "a prepaid account that stays low or overdrawn is told again after so many days; 0: once",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The settings as one immutable value; made by `load`, passed to `create_app`."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def var(self) -> Path:
        """The directory for everything this installation writes outside the database."""
        return Path(self.var_dir).resolve()

    def replace(self, **changes: Any) -> Settings:
        """A copy with some values changed, for tests and the demo."""
        unknown = set(changes) - set(self.values)
        if unknown:
            raise SettingError(f"no such setting: {', '.join(sorted(unknown))}")
        return Settings({**self.values, **changes})


def _convert(setting: Setting, raw: str) -> Any:
    if setting.kind is bool:
        if raw.lower() not in ("0", "1", "true", "false", "yes", "no"):
            raise SettingError(f"{setting.env}={raw!r} must be yes or no")
        return raw.lower() in ("1", "true", "yes")
    try:
        return setting.kind(raw)
    except ValueError:
        raise SettingError(f"{setting.env}={raw!r} must be a whole number") from None


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Read every setting from `env` (default: the process environment).

    Raises SettingError with one line naming each setting that is missing or malformed.
    """
    env = os.environ if env is None else env
    values = {s.field: _convert(s, env[s.env]) if env.get(s.env) else s.default for s in SETTINGS}
    settings = Settings(values)
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if settings.env not in ("demo", "test", "production"):
        raise SettingError(f"NUAN_ENV={settings.env!r} must be demo, test or production")
    url = settings.database_url
    if url and urlsplit(url).scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise SettingError("DATABASE_URL must begin with postgresql://; Nuan runs on PostgreSQL")
    if bool(settings.wechat_oa_appid) != bool(settings.wechat_oa_secret):
        raise SettingError("give NUAN_WECHAT_OA_APPID and NUAN_WECHAT_OA_SECRET both, or neither")
    for name in ("dlt645_password", "dlt645_operator"):
        if not re.fullmatch("([0-9A-Fa-f]{8})?", settings.values[name]):
            raise SettingError(f"NUAN_{name.upper()} must be eight digits")
    if settings.late_payment not in ("accept", "refund", "park"):
        raise SettingError("NUAN_LATE_PAYMENT must be accept, refund or park")
    if not 0 < settings.topup_min_fen <= settings.topup_max_fen <= settings.topup_day_fen:
        raise SettingError("NUAN_TOPUP_MIN_FEN, _MAX_FEN and _DAY_FEN must rise from above 0")
    if settings.env == "production":
        _check_production(settings)


_MUST_BE_HTTPS = (
    "wechat_api_url",
    "wxpay_api_url",
    "alipay_gateway_url",
    "unionpay_api_url",
    "unionpay_file_url",
    "public_url",
)


def _check_production(settings: Settings) -> None:
    missing = [s.env for s in SETTINGS if s.production and not settings.values[s.field]]
    if missing:
        raise SettingError(f"set {', '.join(missing)} (NUAN_ENV=production; see docs/settings.md)")
    for name in _MUST_BE_HTTPS:
        if urlsplit(settings.values[name]).scheme != "https":
            raise SettingError(f"NUAN_{name.upper()} must be https in production, not a sandbox")
    if settings.wechat_bridge_url:
        raise SettingError("NUAN_WECHAT_BRIDGE_URL is the sandbox's; leave it empty in production")


def markdown() -> str:
    """The settings page, `docs/settings.md`."""
    rows = [
        f"| `{s.env}` | {'' if s.default == '' else f'`{s.default}`'} | "
        f"{'yes' if s.production else ''} | {'yes' if s.secret else ''} | {s.help} |"
        for s in SETTINGS
    ]
    head = [
        "# Settings",
        "",
        "Read once from the environment by `backend/config.py`. This page is written by",
        "`nuan settings --markdown > docs/settings.md`; a test holds the two equal.",
        "",
        "| variable | default | needed in production | secret | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"
