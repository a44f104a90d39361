"""What payment channels tell us."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response, request

from backend.api import answers
from backend.base.errors import Problem
from backend.cashier import receiving
from backend.people.access import allow

bp = APIBlueprint("webhooks", __name__, url_prefix="/webhooks", tag="支付通知")

# A real notice is under 4 KB.
MAX_NOTICE_BYTES = 64 * 1024


@bp.post("/wechatpay")
@bp.output({}, status_code=204)
@bp.doc(responses=[400, 413])
@allow("anyone")
def wechatpay() -> Response:
    """A WeChat Pay v3 notice; its own signature over the raw bytes is what lets it in."""
    return _take("wechat")


@bp.post("/alipay")
@bp.doc(responses=[400, 413])
@allow("anyone")
def alipay() -> Response:
    """An Alipay notice, a form signed over its decoded values; answered with the word success."""
    return _take("alipay")


@bp.post("/unionpay")
@bp.doc(responses=[400, 413])
@allow("anyone")
def unionpay() -> Response:
    """A UnionPay notice, a form signed by UnionPay's certificate; the order is asked about."""
    return _take("unionpay")


def _take(channel: str) -> Response:
    request.max_content_length = MAX_NOTICE_BYTES
    if (request.content_length or 0) > MAX_NOTICE_BYTES:
        raise Problem("too_large")
    body = request.get_data(cache=False)
    notice = receiving.receive_notice(channel, dict(request.headers), body, answers.now())
    if not receiving.acknowledged(notice):
        raise Problem("notice_rejected")
    reply = receiving.taken(channel)
    return Response(reply.body, reply.status, content_type=reply.content_type)
