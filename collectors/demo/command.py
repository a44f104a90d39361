"""`nuan demo`: everything on this machine, from an empty directory to a town to look at."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import click
import requests
from flask import Flask

from backend import app_from_environment, config
from backend.base import logs, postgres, schema
from backend.base.db import db
from backend.base.process import end_with_parent
from collectors.demo import books, load, payments
from collectors.demo.people import PEOPLE, STAFF, STAFF_PASSWORD
from payments.sandbox.alipay_keys import ensure_alipay_keys
from payments.sandbox.keys import SandboxKeys, ensure_keys
from payments.sandbox.unionpay_keys import PASSWORD, ensure_unionpay_keys

READY_S = 60
RESTARTS, RESTARTS_S = 5, 60  # a part that ends more often than this stops everything
HOST = "127.0.0.1"


@click.command()
def demo() -> None:
    """Run the whole demonstration town; Ctrl-C stops it (演示)."""
    try:
        Demo(config.load()).run()
    except config.SettingError as error:
        click.echo(f"nuan: {error}", err=True)
        raise SystemExit(2) from None


class Stopped(Exception):
    """A signal asked the demonstration to end."""


class Part:
    """One process of the demonstration, its output in var/log."""

    def __init__(self, name: str, arguments: list[str], log: Path):
        self.name, self.arguments, self.log = name, arguments, log
        self.restarts: list[float] = []
        log.parent.mkdir(parents=True, exist_ok=True)
        self.process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            # Its own session: Ctrl-C reaches us alone, and we end the parts in order.
            return subprocess.Popen(
                [sys.executable, "-m", "backend", self.name, *self.arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def check(self) -> None:
        """Raise where the process has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-1:] or ["(nothing said)"]
            raise config.SettingError(f"{self.name} ended ({tail[0]}); see {self.log}")

    def revive(self) -> bool:
        """Start again a process that has ended (killed, say); raise where that does not help."""
        if self.process.poll() is None:
            return False
        now = time.monotonic()
        self.restarts = [at for at in self.restarts if now - at < RESTARTS_S] + [now]
        if len(self.restarts) > RESTARTS:
            self.check()
        self.process = self._launch()
        return True

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(12)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Demo:
    """The supervisor: starts the parts in order, loads the town once, watches, stops."""

    def __init__(self, settings: config.Settings):
        if settings.env == "production":
            raise config.SettingError("nuan demo is not for NUAN_ENV=production")
        self.settings, self.var = settings, settings.var
        self.parts: list[Part] = []
        self.began = time.monotonic()
        self.owns_database = not settings.database_url

    def run(self) -> None:
        """Until Ctrl-C, or a part that does not stay up."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _raise_stopped)
        try:
            self._start()
            while True:
                time.sleep(1)
                for part in self.parts:
                    if part.revive():
                        self._say(f"{part.name} 意外结束，已重新启动")
        except Stopped:
            click.echo("\n正在停止…")
        finally:
            self._stop()

    def _start(self) -> None:
        settings = self.settings
        for port, name in (
            (settings.http_port, "NUAN_HTTP_PORT"),
            (settings.sandbox_port, "NUAN_SANDBOX_PORT"),
            (settings.meter_port, "NUAN_METER_PORT"),
        ):
            _ensure_free(port, name)
        keys = ensure_keys(self.var / "sandbox" / "keys")
        os.environ.update(_environment(settings, keys))
        self._say("启动数据库")
        os.environ["DATABASE_URL"] = postgres.database_url(settings)
        app = app_from_environment(web_pages=False)
        logs.configure("WARNING")  # this terminal is for the person; the parts log to files
        with app.app_context():
            self._fill(app)
            db.session.remove()
            db.engine.dispose()
        self._welcome()

    def _fill(self, app: Flask) -> None:
        """Migrate, start the parts, and load the history the first time."""
        schema.migrate()
        refusal = load.refuse_foreign()
        if refusal:
            raise config.SettingError(refusal)
        now: datetime = app.extensions["nuan_clock"].now()
        town_file = self.var / "demo" / "town.json"
        town, calendar = load.town_of(town_file, self.settings.meter_port, now)
        fresh = not load.is_loaded()
        if fresh:
            self._say("首次启动：装载示范小区（约半分钟）")
            load.load(app, town, calendar, self._say)
        self._start_part(
            "sandbox",
            [
                "--host",
                HOST,
                "--port",
                str(self.settings.sandbox_port),
                "--state",
                str(self.var / "sandbox"),
            ],
        )
        self._start_part("simulate", ["--town", str(self._plain_town(town_file))])
        self._start_part("serve", [])
        self._wait(f"http://{HOST}:{self.settings.http_port}/readyz", "serve")
        self._wait(f"{self._sandbox}/sandbox/orders", "sandbox")
        self._introduce()
        if fresh:
            payments.pay_first_bills(calendar, self._sandbox, now, self._say)
            payments.prove_past_days(calendar, self._sandbox, now, self._say)
            books.fill(calendar, now, self._say)
            load.mark_loaded(now)
        for name in ("collect", "worker", "schedule"):
            self._start_part(name, [])

    def _plain_town(self, town_file: Path) -> Path:
        """The town's description alone, for `nuan simulate --town`."""
        import json

        plain = town_file.with_name("buses.json")
        plain.write_text(json.dumps(json.loads(town_file.read_text())["town"]), encoding="utf-8")
        return plain

    @property
    def _sandbox(self) -> str:
        return f"http://{HOST}:{self.settings.sandbox_port}"

    def _introduce(self) -> None:
        """Tell the sandbox who its WeChat users are and which template Nuan sends."""
        template = {
            "template_id": load.TEMPLATE,
            "title": "缴费逾期提醒",
            "fields": {
                "thing1": "用热地址",
                "amount2": "欠费金额",
                "date3": "应缴日期",
                "thing4": "温馨提示",
            },
        }
        people = [
            {
                "openid": p.openid,
                "nickname": p.nickname,
                "note": f"{p.building} 栋 {p.flat}，{p.note}",
            }
            for p in PEOPLE
        ]
        for path, body in (
            ("template", template),
            ("people", {"people": people, "merchant": self.settings.company}),
        ):
            requests.post(
                f"{self._sandbox}/sandbox/wechat/{path}", json=body, timeout=(3, 8)
            ).raise_for_status()

    def _start_part(self, name: str, arguments: list[str]) -> None:
        self._say(f"启动 {name}")
        self.parts.append(Part(name, arguments, self.var / "log" / f"{name}.log"))

    def _wait(self, url: str, name: str) -> None:
        part = next(p for p in self.parts if p.name == name)
        _until(lambda: _answers(url), part)

    def _say(self, text: str) -> None:
        click.echo(f"  {time.monotonic() - self.began:5.1f} s  {text}")

    def _welcome(self) -> None:
        web = f"http://{HOST}:{self.settings.http_port}"
        rows = [
            "",
            f"暖 已就绪（{time.monotonic() - self.began:.0f} 秒）",
            "",
            f"  居民端 H5      {web}/          微信用户在授权页上选："
            + "、".join(p.nickname for p in PEOPLE),
            f"  管理后台       {web}/console   密码都是 {STAFF_PASSWORD}："
            + "、".join(f"{login}（{name}）" for login, name, _ in STAFF),
            f"  抄表员         {web}/          “抄表员登录”，chaobiao / {STAFF_PASSWORD}",
            f"  接口文档       {web}/docs",
            f"  外部机构沙箱   {self._sandbox}/sandbox/   微信支付、小程序消息",
            f"  日志           {self.var / 'log'}",
            "",
            "  Ctrl-C 停止；再次 make run 数据还在。",
        ]
        click.echo("\n".join(rows))

    def _stop(self) -> None:
        for part in reversed(self.parts):
            part.stop()
        if self.owns_database and (self.var / "pg").exists():
            postgres.stop_embedded(self.var / "pg")
        if self.parts:
            click.echo("已停止")


def _raise_stopped(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Stopped


def _environment(settings: config.Settings, keys: SandboxKeys) -> dict[str, str]:
    """The settings that point the parts at the sandbox; its people may be told at any hour."""
    sandbox = f"http://{HOST}:{settings.sandbox_port}"
    return {
        "NUAN_VAR_DIR": str(settings.var),
        "NUAN_PUBLIC_URL": f"http://{HOST}:{settings.http_port}",
        "NUAN_WECHAT_APPID": keys.appid,
        "NUAN_WECHAT_SECRET": keys.app_secret,
        "NUAN_WECHAT_API_URL": sandbox,
        "NUAN_WECHAT_OAUTH_URL": f"{sandbox}/connect/oauth2/authorize",
        "NUAN_WECHAT_BRIDGE_URL": f"{sandbox}/sandbox/bridge.js",
        "NUAN_WECHAT_OVERDUE_TEMPLATE": load.TEMPLATE,
        "NUAN_QUIET_HOURS": "off",
        "NUAN_WXPAY_API_URL": sandbox,
        "NUAN_WXPAY_MCHID": keys.mchid,
        "NUAN_WXPAY_SERIAL": keys.merchant_serial,
        "NUAN_WXPAY_PRIVATE_KEY_FILE": str(keys.merchant_key_path),
        "NUAN_WXPAY_APIV3_KEY": keys.api_v3_key,
        "NUAN_WXPAY_VERIFIERS": f"{keys.public_key_id}={keys.public_key_path}",
        **_other_channels(sandbox, keys.directory.parent),
    }


def _ensure_free(port: int, setting: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise config.SettingError(
                f"port {port} is in use ({error.strerror}): stop what uses it, or set {setting}"
            ) from None


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=(1, 3)).ok
    except requests.RequestException:
        return False


def _until(ready: Callable[[], bool], part: Part) -> None:
    deadline = time.monotonic() + READY_S
    while not ready():
        part.check()
        if time.monotonic() > deadline:
            raise config.SettingError(f"{part.name} did not answer in {READY_S} s; see {part.log}")
        time.sleep(0.1)


def _other_channels(sandbox: str, directory: Path) -> dict[str, str]:
    """Alipay and UnionPay under the sandbox."""
    alipay = ensure_alipay_keys(directory / "keys-alipay")
    union = ensure_unionpay_keys(directory / "keys-unionpay")
    return {
        "NUAN_ALIPAY_APP_ID": alipay.app_id,
        "NUAN_ALIPAY_SELLER_ID": alipay.seller_id,
        "NUAN_ALIPAY_PRIVATE_KEY_FILE": str(alipay.app_key_path),
        "NUAN_ALIPAY_PUBLIC_KEY_FILE": str(alipay.alipay_public_path),
        "NUAN_ALIPAY_GATEWAY_URL": f"{sandbox}/gateway.do",
        "NUAN_UNIONPAY_MER_ID": union.mer_id,
        "NUAN_UNIONPAY_SIGN_FILE": str(union.sign_path),
        "NUAN_UNIONPAY_SIGN_PASSWORD": PASSWORD,
        "NUAN_UNIONPAY_ROOT_FILE": str(union.root_path),
        "NUAN_UNIONPAY_MIDDLE_FILE": str(union.middle_path),
        "NUAN_UNIONPAY_API_URL": sandbox,
        "NUAN_UNIONPAY_FILE_URL": f"{sandbox}/unionpay/file",
    }
