"""The pay sheet in a real browser, over a page of another origin, as the H5 pages use it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from payments.channel import TradeStatus
from tests.browser.conftest import browser

__all__ = ["browser"]

pytestmark = pytest.mark.browser

SIZES = {"phone": (390, 844), "desk": (1280, 800)}
INVOKE = """fields => {
    window.said = null
    WeixinJSBridge.invoke('getBrandWCPayRequest', fields, (told) => { window.said = told.err_msg })
}"""


@pytest.fixture(scope="module")
def shop():
    """A merchant's page, somewhere else than the sandbox."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<!doctype html><link rel=icon href='data:,'><h1>bill</h1>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/h5/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=SIZES)
def page(request, browser, sandbox, shop):
    width, height = SIZES[request.param]
    screen = {"width": width, "height": height}
    context = browser.new_context(viewport=screen, locale="zh-CN", reduced_motion="reduce")
    context.set_default_timeout(5000)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(shop)
    page.evaluate("""() => document.addEventListener('WeixinJSBridgeReady',
                     () => { window.ready = (window.ready || 0) + 1 })""")
    page.add_script_tag(url=sandbox.url + "/sandbox/bridge.js")
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def order(new_order):
    return new_order(1_234_05)


@pytest.fixture
def fields(channel, order):
    return channel.create(order).fields


def opened(page, fields):
    page.evaluate(INVOKE, fields)
    page.get_by_test_id("wx-pay-confirm").wait_for()


def said(page):
    page.wait_for_function("window.said !== null")
    return page.evaluate("window.said").removeprefix("get_brand_wcpay_request:")


def is_paid(channel, order):
    return channel.query(order.out_trade_no).status is TradeStatus.PAID


def test_the_bridge_announces_itself_once_however_often_it_is_loaded(page, sandbox):
    page.add_script_tag(url=sandbox.url + "/sandbox/bridge.js")
    assert page.evaluate("window.ready") == 1


def test_the_sheet_says_what_is_paid_and_fits_the_screen(page, fields):
    opened(page, fields)
    assert page.get_by_test_id("wx-pay-amount").inner_text() == "¥1234.05"
    for testid in ("wx-pay-sheet", "wx-pay-confirm", "wx-pay-cancel"):
        box, size = page.get_by_test_id(testid).bounding_box(), page.viewport_size
        assert box["x"] >= 0 and box["y"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["y"] + box["height"] <= size["height"]


def test_confirming_pays(page, fields, channel, order, webhook):
    opened(page, fields)
    page.get_by_test_id("wx-pay-confirm").click()
    assert said(page) == "ok"
    assert page.get_by_test_id("wx-pay-sheet").count() == 0
    assert is_paid(channel, order)
    webhook.wait(1)


@pytest.mark.parametrize("no", ["button", "cross", "key"])
def test_every_way_of_saying_no_cancels_and_the_order_can_be_paid_later(
    page, fields, channel, order, no
):
    opened(page, fields)
    if no == "key":
        page.keyboard.press("Escape")
    else:
        found = (
            page.get_by_test_id("wx-pay-cancel") if no == "button" else page.get_by_label("关闭")
        )
        found.click()
    assert said(page) == "cancel"
    assert not is_paid(channel, order)
    opened(page, fields)


def test_a_wrong_signature_fails_in_words(page, fields, channel, order):
    opened(page, fields | {"paySign": "bm90IGEgc2lnbmF0dXJl"})
    page.get_by_test_id("wx-pay-confirm").click()
    page.get_by_test_id("wx-pay-understood").click()
    assert said(page) == "fail"
    assert not is_paid(channel, order)


def test_an_order_paid_meanwhile_fails_in_words(page, fields, tap, webhook):
    opened(page, fields)
    assert tap(fields).ok
    page.get_by_test_id("wx-pay-confirm").click()
    assert page.get_by_test_id("wx-pay-said").inner_text() == "该订单已支付"
    page.get_by_test_id("wx-pay-understood").click()
    assert said(page) == "fail"


def test_an_unknown_order_fails_before_anything_is_confirmed(page, fields):
    page.evaluate(INVOKE, fields | {"package": "prepay_id=wx-invented"})
    page.get_by_test_id("wx-pay-understood").click()
    assert said(page) == "fail"


def test_a_sandbox_out_of_reach_fails_in_words(page, fields):
    page.route("**/sandbox/wechat/**", lambda route: route.abort())
    page.evaluate(INVOKE, fields)
    assert page.get_by_test_id("wx-pay-said").inner_text() == "网络不给力，请稍后再试"
    page.keyboard.press("Escape")
    assert said(page) == "fail"


def test_there_is_one_sheet_at_a_time(page, fields):
    opened(page, fields)
    page.evaluate(INVOKE, fields)
    assert said(page) == "fail"
    assert page.get_by_test_id("wx-pay-sheet").count() == 1


def test_a_call_the_bridge_does_not_know_fails(page):
    told = page.evaluate(
        "() => new Promise((done) => WeixinJSBridge.invoke('scanQRCode', {}, done))"
    )
    assert told == {"err_msg": "scanQRCode:fail"}


def test_a_tap_on_a_person_signs_in_and_keeps_the_hash_route(page, sandbox, shop):
    people = {"people": [{"openid": "oAlice-000001", "nickname": "王淑芬"}]}
    requests.post(sandbox.url + "/sandbox/wechat/people", json=people, timeout=5)
    page.goto(
        f"{sandbox.url}/connect/oauth2/authorize?appid={sandbox.keys.appid}"
        f"&redirect_uri={shop.replace('/', '%2F')}%23%2Fpages%2Fbills%2Findex"
        "&response_type=code&scope=snsapi_base&state=abc#wechat_redirect"
    )
    page.get_by_test_id("wx-person-oAlice-000001").click()
    page.wait_for_url(shop + "**")
    assert page.evaluate("location.hash") == "#/pages/bills/index"
    assert page.evaluate("new URLSearchParams(location.search).get('state')") == "abc"
