"""create_sandbox_app(): every outside party as one Flask application."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from payments.sandbox import alipay_desk, unionpay_desk, wechat_desk
from payments.sandbox.alipay_desk import AlipayParty
from payments.sandbox.alipay_gateway import alipay_blueprint
from payments.sandbox.alipay_keys import ensure_alipay_keys
from payments.sandbox.bank_desk import bank_blueprint
from payments.sandbox.browser import browser_blueprint
from payments.sandbox.control import control_blueprint
from payments.sandbox.desk import Sandbox, SandboxSettings
from payments.sandbox.keys import ensure_keys
from payments.sandbox.notifier import Notifier
from payments.sandbox.pages import pages_blueprint
from payments.sandbox.party import Party
from payments.sandbox.signing import Platform
from payments.sandbox.state import State
from payments.sandbox.unionpay_desk import UnionPayParty
from payments.sandbox.unionpay_gateway import unionpay_blueprint
from payments.sandbox.unionpay_keys import ensure_unionpay_keys
from payments.sandbox.wechat_app import add_template, wechat_app_blueprint
from payments.sandbox.wechat_desk import WeChatParty
from payments.sandbox.wechat_pay import wechat_pay_blueprint

# Titles and fields as in WeChat's public template library, under ids the demo settings use.
DEFAULT_TEMPLATES: dict[str, tuple[str, dict[str, str]]] = {
    "nuan-bill-issued": (
        "账单通知",
        {"thing1": "用热地址", "amount2": "账单金额", "date3": "缴费期限", "thing4": "温馨提示"},
    ),
    "nuan-bill-overdue": (
        "欠费提醒",
        {"thing1": "用热地址", "amount2": "欠费金额", "date3": "应缴日期", "thing4": "温馨提示"},
    ),
    "nuan-balance-low": (
        "余额不足提醒",
        {"thing1": "用热地址", "amount2": "当前余额", "thing4": "温馨提示"},
    ),
    "nuan-payment-done": (
        "缴费成功通知",
        {
            "thing1": "用热地址",
            "amount2": "缴费金额",
            "time3": "缴费时间",
            "character_string4": "流水号",
        },
    ),
    "nuan-refund-done": (
        "退款通知",
        {"thing1": "用热地址", "amount2": "退款金额", "time3": "退款时间", "thing4": "退款原因"},
    ),
}


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def create_sandbox_app(
    state_dir: Path | str,
    clock: Callable[[], datetime] = utc_now,
    settings: SandboxSettings | None = None,
) -> Flask:
    """Build the sandbox over `state_dir` (keys/ and state.sqlite), its notifier running.

    Call close_sandbox(app) at the end. OSError if the directory cannot be written.
    """
    directory, settings = Path(state_dir), settings or SandboxSettings()
    keys = ensure_keys(directory / "keys")
    state = State(directory / "state.sqlite")
    platform = Platform(keys)
    notifier = Notifier()
    alipay = AlipayParty(ensure_alipay_keys(directory / "keys-alipay"))
    unionpay = UnionPayParty(ensure_unionpay_keys(directory / "keys-unionpay"))
    parties: dict[str, Party] = {
        wechat_desk.CHANNEL: WeChatParty(platform),
        alipay_desk.CHANNEL: alipay,
        unionpay_desk.CHANNEL: unionpay,
    }
    box = Sandbox(state, keys, settings, clock, notifier.notify, parties)
    for template_id, (title, fields) in {**DEFAULT_TEMPLATES, **settings.templates}.items():
        add_template(box, template_id, title, fields)
    app = Flask(__name__)
    app.extensions["sandbox"] = (state, notifier, _InFlight(app))
    app.register_blueprint(wechat_pay_blueprint(box, platform))
    app.register_blueprint(alipay_blueprint(box, alipay))
    app.register_blueprint(unionpay_blueprint(box, unionpay))
    app.register_blueprint(wechat_app_blueprint(box))
    app.register_blueprint(control_blueprint(box, platform, notifier))
    app.register_blueprint(pages_blueprint(box))
    app.register_blueprint(browser_blueprint(box))
    app.register_blueprint(bank_blueprint(box))
    _log_calls(app, box)
    notifier.start(box)
    return app


def close_sandbox(app: Flask) -> None:
    """Let requests under way end, stop the notifier and close the state file."""
    state, notifier, in_flight = app.extensions["sandbox"]
    in_flight.wait()
    notifier.stop()
    state.close()


class _InFlight:
    """Counts requests under way: a slow one must not find its state file closed."""

    def __init__(self, app: Flask) -> None:
        self._count = 0
        self._changed = threading.Condition()
        app.before_request(self._enter)
        app.teardown_request(self._leave)

    def wait(self) -> None:
        """Return once nothing is under way, after 10 s in any case."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0, 10.0)

    def _enter(self) -> None:
        with self._changed:
            self._count += 1

    def _leave(self, error: BaseException | None) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()


def _log_calls(app: Flask, box: Sandbox) -> None:
    @app.after_request
    def log_call(answer: Response) -> Response:
        if not request.path.startswith("/sandbox"):
            box.state.log_call(box.now_s(), request.method, request.path, answer.status_code)
        return answer

    @app.get("/")
    def home() -> BaseResponse:
        return redirect("/sandbox/")
