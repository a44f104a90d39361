"""A plain browser in WeChat's place: signing in by a tap, the bridge that pays, the phone."""

from pathlib import Path

from flask import Blueprint, Response, jsonify, redirect, render_template, request, send_file
from werkzeug.wrappers import Response as BaseResponse

from payments.sandbox import people
from payments.sandbox.control import messages_received
from payments.sandbox.desk import ApiError, Sandbox
from payments.sandbox.oauth import AskRefused, checked_ask, come_back, exchange
from payments.sandbox.people import DEFAULT_MERCHANT, Person
from payments.sandbox.wechat_app import AppError

_BRIDGE = Path(__file__).with_name("static") / "bridge.js"
_MAX_MERCHANT_CHARS = 30


def browser_blueprint(box: Sandbox) -> Blueprint:
    """/connect/oauth2/authorize, /sns/oauth2/access_token and what a browser needs to pay."""
    browser = Blueprint("browser", __name__, template_folder="templates")

    @browser.errorhandler(AskRefused)
    def refuse_ask(error: AskRefused) -> tuple[str, int]:
        return render_template("authorize_refused.html", refusal=error), 400

    @browser.errorhandler(AppError)
    def refuse_app(error: AppError) -> Response:
        return jsonify(errcode=error.errcode, errmsg=error.errmsg)

    @browser.errorhandler(ApiError)
    def refuse_api(error: ApiError) -> tuple[Response, int]:
        return jsonify(code=error.code, message=error.message), error.status

    @browser.after_request
    def allow_any_origin(answer: Response) -> Response:
        if request.path.startswith("/sandbox/wechat/"):  # the H5 page asks for the amount
            answer.headers["Access-Control-Allow-Origin"] = "*"
        return answer

    _sign_in_routes(browser, box)
    _people_routes(browser, box)
    _pay_routes(browser, box)
    _phone_routes(browser, box)
    return browser


def _sign_in_routes(browser: Blueprint, box: Sandbox) -> None:
    @browser.get("/connect/oauth2/authorize")
    def authorize() -> str:
        ask = checked_ask(box, request.args)
        known = people.everyone(box)
        return render_template(
            "authorize.html", ask=ask, people=known, merchant=_merchant(box), asked=request.args
        )

    @browser.post("/connect/oauth2/authorize")
    def tap() -> BaseResponse:
        """The tap on a person; an empty openid is somebody new."""
        ask = checked_ask(box, request.args)
        openid = request.form.get("openid", "")
        person = _known(box, openid) if openid else people.new_person(box)
        return redirect(come_back(box, ask, person), 303)

    @browser.get("/sns/oauth2/access_token")
    def access_token() -> Response:
        return jsonify(exchange(box, request.args))


def _people_routes(browser: Blueprint, box: Sandbox) -> None:
    @browser.get("/sandbox/wechat/people")
    def listing() -> Response:
        return jsonify(people=people.everyone(box))

    @browser.post("/sandbox/wechat/people")
    def add() -> tuple[Response, int]:
        """{people: [{openid, nickname, note?, unionid?}], merchant?: the name people see}."""
        body = request.get_json(force=True, silent=True)
        if not isinstance(body, dict):
            raise ApiError(400, "PARAM_ERROR", "the body must be a JSON object")
        merchant = body.get("merchant", _merchant(box))
        if not isinstance(merchant, str) or not 0 < len(merchant) <= _MAX_MERCHANT_CHARS:
            raise ApiError(400, "PARAM_ERROR", "merchant must be text of at most 30 characters")
        known = people.add_people(box, body.get("people", []))
        box.state.set_setting("merchant", merchant)
        return jsonify(people=known), 201


def _pay_routes(browser: Blueprint, box: Sandbox) -> None:
    @browser.get("/sandbox/bridge.js")
    def bridge() -> Response:
        return send_file(_BRIDGE, mimetype="text/javascript", max_age=0)

    @browser.get("/sandbox/wechat/prepay/<prepay_id>")
    def prepay(prepay_id: str) -> Response:
        """What the pay sheet shows: {description, amount_fen, merchant, nickname, state}."""
        order = box.state.one("SELECT * FROM orders WHERE prepay_id = ?", prepay_id)
        if order is None:
            raise ApiError(404, "RESOURCE_NOT_EXISTS", "预支付交易会话不存在")
        return jsonify(
            description=order["description"],
            amount_fen=order["total_fen"],
            merchant=_merchant(box),
            nickname=people.person_of(box, order["openid"]).nickname,
            state=order["state"],
        )


def _phone_routes(browser: Blueprint, box: Sandbox) -> None:
    @browser.get("/sandbox/phone")
    def phone() -> str:
        """Somebody's service notices, or whose phone it should be."""
        openid = request.args.get("openid", "")
        return render_template(
            "phone.html",
            person=people.person_of(box, openid) if openid else None,
            people=_with_phones(box),
            messages=messages_received(box, openid) if openid else [],
            merchant=_merchant(box),
        )


def _merchant(box: Sandbox) -> str:
    return box.state.setting("merchant", DEFAULT_MERCHANT)


def _known(box: Sandbox, openid: str) -> Person:
    for person in people.everyone(box):
        if person.openid == openid:
            return person
    raise AskRefused("", "沙箱里没有这个人")


def _with_phones(box: Sandbox) -> list[Person]:
    """Everyone listed, and everyone who was sent a message without being listed."""
    known = people.everyone(box)
    rows = box.state.all("SELECT DISTINCT openid FROM messages ORDER BY openid LIMIT 500")
    strangers = {row["openid"] for row in rows} - {person.openid for person in known}
    return known + [people.person_of(box, openid) for openid in sorted(strangers)]
