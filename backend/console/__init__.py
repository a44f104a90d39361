"""The staff's web pages under /console: rendered here, served from here, nobody else's host.

A page is a view in `finance.py` or `reading.py`, its SQL in `queries.py`, its template under
`templates/console/`.  Another page is another such view plus a line in `NAVIGATION`.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from apiflask import APIFlask
from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from flask_bootstrap import Bootstrap5
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from backend.base.db import db
from backend.base.errors import Problem
from backend.console import (
    allocation_rules,
    anomalies,
    bus_jobs,
    buses,
    calibrations,
    cases,
    cold,
    collection,
    counter,
    finance,
    households,
    imports,
    months,
    orders,
    paper_templates,
    papers,
    reading,
    requested,
    rules,
    runs,
    seasons,
    sessions,
    settlements,
    show,
    supplies,
    tariffs,
)
from backend.people import access

# No inline script or style, no other host: a page that breaks this shows it in the first test.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
SESSION_HOURS = 12  # a working day; after that staff sign in again

EVERYBODY = frozenset({"finance", "operator", "manager"})
MONEY, DISPATCH = frozenset({"finance", "manager"}), frozenset({"operator", "manager"})

# A subject of the bar and its pages: endpoint, title, roles that see it.  Each role's first page
# is its home.
NAVIGATION: tuple[tuple[str, tuple[tuple[str, str, frozenset[str]], ...]], ...] = (
    (
        "收款对账",
        (
            ("console.finance_day", "日结", MONEY),
            ("console.cases", "资金待办", MONEY),
            ("console.orders", "订单与退款", MONEY),
            ("console.counter", "柜台收款", frozenset({"finance"})),
            ("console.shifts", "班次", MONEY),
            ("console.papers", "票据", MONEY),
            ("console.paper_templates", "票据模板", MONEY),
            ("console.collection", "银行代扣", MONEY),
            ("console.mandates", "代扣签约", MONEY),
            ("console.bank_statements", "银行流水", MONEY),
            ("console.months", "月结", MONEY),
            ("console.ledger_account", "科目对账单", MONEY),
            ("console.voucher_accounts", "凭证科目", MONEY),
        ),
    ),
    (
        "计费",
        (
            ("console.requests", "待核准", MONEY),
            ("console.households", "住户", MONEY),
            ("console.tariffs", "价格方案", MONEY),
            ("console.rules", "计费规则", MONEY),
            ("console.season_runs", "采暖季", MONEY),
        ),
    ),
    (
        "抄表",
        (
            ("console.reading_success", "抄表成功率", DISPATCH),
            ("console.runs", "抄表任务", DISPATCH),
            ("console.anomalies", "异常读数", DISPATCH),
            ("console.buses", "采集总线", DISPATCH),
            ("console.bus_jobs", "总线任务", DISPATCH),
            ("console.refused", "拒收报文", DISPATCH),
            ("console.import_readings", "导入读数", frozenset({"operator"})),
        ),
    ),
    (
        "热分摊",
        (
            ("console.settlements", "结算", EVERYBODY),
            ("console.allocation", "分摊规则", DISPATCH),
            ("console.calibrations", "参数辨识", DISPATCH),
        ),
    ),
    ("室温", (("console.cold", "室温报修", EVERYBODY),)),
)

PAGES = (
    *(
        sessions,
        finance,
        cases,
        orders,
        counter,
        collection,
        months,
        requested,
        households,
        tariffs,
        rules,
        seasons,
        cold,
        settlements,
        allocation_rules,
        calibrations,
    ),
    *(papers, paper_templates),
    *(reading, runs, supplies, anomalies, imports, buses, bus_jobs),
)

# Besides the account's own lock: passwords tried for many accounts from one address.
SIGN_IN_LIMIT = "30/minute"
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_HTTP_CODES |= {429: "too_many_attempts", 500: "internal"}

log = logging.getLogger("nuan.console")
csrf = CSRFProtect()


def init_app(app: APIFlask) -> None:
    """Register the console and what it stands on."""
    app.config.update(_flask_config())
    app.static_url_path = "/static"  # below which Bootstrap-Flask serves its copy of Bootstrap
    Bootstrap5(app)
    csrf.init_app(app)
    sessions.init_app(app)
    app.register_blueprint(_blueprint())
    for endpoint in ("bootstrap.static", "console.static"):
        _open(app, endpoint)
    _limit_sign_in(app)
    access.signs_in(app, "console", sessions.principal, _refuse)


def _open(app: APIFlask, endpoint: str) -> None:
    """Style sheets and scripts are for anyone; the guard wants it said."""
    send = app.view_functions[endpoint]

    @access.allow("anyone")
    def view(**arguments: Any) -> Any:
        return send(**arguments)

    app.view_functions[endpoint] = view


def _limit_sign_in(app: APIFlask) -> None:
    """With the limiter the API has installed: one store counts for all."""
    for limiter in app.extensions.get("limiter", ()):
        limited = limiter.limit(SIGN_IN_LIMIT, methods=["POST"])
        app.view_functions["console.sign_in"] = limited(app.view_functions["console.sign_in"])


def _flask_config() -> dict[str, Any]:
    return {
        "BOOTSTRAP_SERVE_LOCAL": True,
        "PERMANENT_SESSION_LIFETIME": timedelta(hours=SESSION_HOURS),
        "SESSION_COOKIE_NAME": "nuan_console",
        "SESSION_COOKIE_PATH": "/console",
        "WTF_CSRF_CHECK_DEFAULT": False,  # the API signs in by bearer token; see `_begin`
        "WTF_CSRF_TIME_LIMIT": None,  # as long as the session
    }


def _blueprint() -> Blueprint:
    blueprint = Blueprint(
        "console",
        __name__,
        url_prefix="/console",
        template_folder="templates",
        static_folder="static",
    )
    blueprint.before_request(csrf.protect)
    blueprint.after_request(_headers)
    show.register(blueprint)
    blueprint.context_processor(_context)
    blueprint.register_error_handler(Problem, _problem)
    blueprint.register_error_handler(CSRFError, _stale_form)
    blueprint.register_error_handler(HTTPException, _http)
    blueprint.register_error_handler(OperationalError, _outage)
    blueprint.register_error_handler(Exception, _unexpected)
    for module in PAGES:
        module.register(blueprint)
    blueprint.add_url_rule("/", "home", _home)
    blueprint.add_url_rule("/<path:rest>", "nowhere", _nowhere)
    return blueprint


@access.allow("signed_in")
def _home() -> AnyResponse:
    """The first page this member of staff has; a reader has none here."""
    for endpoint, _title in _pages(sessions.roles()):
        return redirect(url_for(endpoint))
    raise Problem("forbidden", "管理台没有为您的岗位准备的页面；抄表请使用手机端。")


def _pages(held: frozenset[str]) -> list[tuple[str, str]]:
    return [
        (endpoint, title)
        for _, pages in NAVIGATION
        for endpoint, title, roles in pages
        if held & roles
    ]


@access.allow("signed_in")
def _nowhere(rest: str) -> AnyResponse:
    raise Problem("not_found", "没有这个页面。")


def _context() -> dict[str, Any]:
    """What every template may use: this person's subjects, and the pages of this one."""
    held = sessions.roles()
    subjects = [
        (title, [_link(endpoint, name) for endpoint, name, roles in pages if held & roles])
        for title, pages in NAVIGATION
    ]
    links = [link for _, pages in subjects for link in pages]
    here = max(
        (link for link in links if _below(request.path, link["url"])),
        key=lambda link: len(link["url"]),
        default=None,
    )
    if here is not None:
        here["here"] = True
    return {"navigation": [s for s in subjects if s[1]], "staff": sessions.current()}


def _link(endpoint: str, title: str) -> dict[str, Any]:
    return {"url": url_for(endpoint), "title": title, "here": False}


def _below(path: str, url: str) -> bool:
    """A page, or one of those that belong to it (a tariff to the tariffs)."""
    return path == url or path.startswith(f"{url}/")


def _headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.setdefault("X-Frame-Options", "DENY")
    if request.endpoint != "console.static":
        response.headers["Cache-Control"] = "no-store"  # shared machines: 'back' shows nothing
    return response


def _refuse(problem: Problem) -> AnyResponse:
    """Whoever is not signed in is led to the sign-in page; the others are told."""
    if problem.code != "not_signed_in":
        return _problem(problem)
    target = url_for("console.sign_in", next=sessions.local_path())
    if request.headers.get("HX-Request"):
        return Response("", 200, {"HX-Redirect": target})  # a fragment cannot hold a sign-in page
    return redirect(target)


def _problem(problem: Problem) -> Response:
    db.session.rollback()
    page = render_template("console/problem.html", problem=problem)
    return Response(page, problem.status)


def _stale_form(_error: CSRFError) -> Response:
    return _problem(Problem("bad_request", "页面停留太久已失效，请返回刷新后重新提交。"))


def _http(error: HTTPException) -> AnyResponse:
    if error.code is None or error.code < 400:
        return error.get_response()
    return _problem(Problem(_HTTP_CODES.get(error.code, "bad_request")))


def _outage(error: OperationalError) -> Response:
    log.error("database does not answer", exc_info=error)
    return _bare(Problem("unavailable"))


def _unexpected(error: Exception) -> Response:
    log.error("unhandled error", exc_info=error)
    return _bare(Problem("internal"))


def _bare(problem: Problem) -> Response:
    """A page made without asking the database who is signed in: it may be what is broken."""
    db.session.rollback()
    template = current_app.jinja_env.get_template("console/problem.html")
    return Response(template.render(problem=problem, navigation=[], staff=None), problem.status)
