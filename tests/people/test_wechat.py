"""The mini-program's client against the sandbox: codes, tokens renewed once, messages."""

import threading
import time
from datetime import UTC, datetime

import pytest
import requests

from backend.people.wechat import NO_ANSWER, MiniProgramClient, WeChatApiError
from payments.sandbox.server import running_sandbox

ALICE = "oAlice-000001"
DATA = {
    "thing1": "阳光小区1-1-101",
    "amount2": "123.45元",
    "date3": "2026-11-20",
    "thing4": "请缴费",
}


class Tokens:
    """A token store as two processes would share it; counts what is written."""

    def __init__(self):
        self.values = {}
        self.written = 0

    def get(self, key):
        value, until = self.values.get(key, (None, 0))
        return value if time.monotonic() < until else None

    def set(self, key, value, ttl_s):
        self.values[key] = (value, time.monotonic() + ttl_s)
        self.written += 1


@pytest.fixture(scope="module")
def clock():
    class Clock:
        offset_s = 0.0

        def __call__(self):
            return datetime.fromtimestamp(time.time() + self.offset_s, UTC)

    return Clock()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory, clock):
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), clock) as running:
        yield running


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def client(sandbox, tokens, clock):
    clock.offset_s = 0.0
    made = new_client(sandbox, tokens)
    yield made
    made._http.close()
    requests.delete(sandbox.url + "/sandbox/behaviour", timeout=5)


def new_client(sandbox, tokens, secret=None):
    keys = sandbox.keys
    return MiniProgramClient(keys.appid, secret or keys.app_secret, tokens, sandbox.url)


def ask(sandbox, path, **body):
    answer = requests.post(sandbox.url + "/sandbox" + path, json=body, timeout=5)
    assert answer.ok, answer.text
    return answer.json()


def calls(sandbox, path):
    return requests.get(f"{sandbox.url}/sandbox/calls?path={path}", timeout=5).json()["count"]


def messages(sandbox, openid):
    url = f"{sandbox.url}/sandbox/messages?openid={openid}"
    return requests.get(url, timeout=5).json()["messages"]


def refusal(action):
    with pytest.raises(WeChatApiError) as error:
        action()
    return error.value.code, error.value.permanent


def send(client, openid=ALICE, template="nuan-bill-overdue", data=DATA):
    return client.send_subscribe_message(openid, template, "pages/bills/bills", data)


# signing in


def test_a_code_gives_the_openid_once(client, sandbox, tokens):
    code = ask(sandbox, "/wechat/code", openid=ALICE)["code"]
    session = client.code2session(code)
    assert session["openid"] == ALICE
    assert set(session) == {"openid", "session_key"}
    assert refusal(lambda: client.code2session(code)) == (40163, True)
    assert tokens.written == 0  # signing in costs no access token


def test_an_invented_code_is_refused(client):
    assert refusal(lambda: client.code2session("invented")) == (40029, True)


def test_a_code_is_good_for_five_minutes(client, sandbox, clock):
    code = ask(sandbox, "/wechat/code", openid=ALICE)["code"]
    clock.offset_s = 301
    assert refusal(lambda: client.code2session(code)) == (40029, True)


def test_a_wrong_secret_is_refused_and_not_shown(sandbox, tokens):
    client = new_client(sandbox, tokens, secret="not-the-secret")
    with pytest.raises(WeChatApiError) as error:
        client.code2session("x")
    client._http.close()
    assert (error.value.code, error.value.permanent) == (40125, True)
    assert "not-the-secret" not in str(error.value)


def test_a_busy_wechat_is_a_passing_error(client, sandbox):
    ask(sandbox, "/behaviour", target="login", mode="error", params={"errcode": -1})
    assert refusal(lambda: client.code2session("any")) == (-1, False)


def test_a_wechat_that_is_not_there_is_a_passing_error(tokens):
    client = MiniProgramClient("wx1", "secret-9", tokens, "http://127.0.0.1:9")
    with pytest.raises(WeChatApiError) as error:
        client.code2session("any")
    assert (error.value.code, error.value.permanent) == (NO_ANSWER, False)
    assert "secret-9" not in str(error.value)
    assert error.value.__cause__ is None


def test_a_wechat_that_does_not_answer_is_given_up(sandbox, tokens, monkeypatch):
    import socket

    monkeypatch.setattr("backend.people.wechat.READ_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = MiniProgramClient("wx1", "s", tokens, url)
        start = time.monotonic()
        assert refusal(lambda: client.code2session("any")) == (NO_ANSWER, False)
        assert time.monotonic() - start < 2
        client._http.close()


def test_the_phone_button_gives_the_number_once(client, sandbox):
    code = ask(sandbox, "/wechat/phone_code", phone="13800000001")["code"]
    assert client.phone_number(code) == "13800000001"
    assert refusal(lambda: client.phone_number(code)) == (40163, True)


# tokens


def test_two_processes_share_one_token(sandbox, tokens):
    first, second = new_client(sandbox, tokens), new_client(sandbox, tokens)
    before = calls(sandbox, "/cgi-bin/stable_token")
    send(first)
    send(second)
    assert calls(sandbox, "/cgi-bin/stable_token") == before + 1
    for client in (first, second):
        client._http.close()


def test_two_processes_without_a_shared_cache_do_not_disturb_each_other(sandbox):
    clients = [new_client(sandbox, Tokens()) for _ in range(2)]
    for client in clients * 2:
        send(client)
        client._http.close()
    given = {client.access_token for client in clients}
    assert len(given) == 1


@pytest.mark.parametrize("mode", ["expired", "invalid"])
def test_a_refused_token_is_renewed_exactly_once(client, sandbox, tokens, mode):
    send(client)
    before = calls(sandbox, "/cgi-bin/stable_token"), calls(sandbox, "/cgi-bin/message")
    ask(sandbox, "/behaviour", target="token", mode=mode)
    assert send(client)
    after = calls(sandbox, "/cgi-bin/stable_token"), calls(sandbox, "/cgi-bin/message")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 2)


def test_a_token_that_stays_refused_does_not_go_round_in_circles(client, sandbox, tokens):
    ask(sandbox, "/behaviour", target="message", mode="error", times=0, params={"errcode": 40001})
    before = calls(sandbox, "/cgi-bin/stable_token"), calls(sandbox, "/cgi-bin/message")
    assert refusal(lambda: send(client)) == (40001, False)
    after = calls(sandbox, "/cgi-bin/stable_token"), calls(sandbox, "/cgi-bin/message")
    # one to begin with, one that gives the same token, one forced; two messages tried
    assert after[0] - before[0] <= 3
    assert after[1] - before[1] == 2


def test_a_token_renewed_by_another_process_is_taken_from_the_cache(client, sandbox, tokens):
    send(client)
    ask(sandbox, "/behaviour", target="token", mode="invalid")
    other = new_client(sandbox, Tokens())
    fresh = other.fetch_access_token()
    other._http.close()

    key = next(iter(tokens.values))
    stale = tokens.get(key)
    tokens.get = _reads(stale, fresh)
    before = calls(sandbox, "/cgi-bin/stable_token")
    assert send(client)
    assert calls(sandbox, "/cgi-bin/stable_token") == before


def _reads(*values):
    left = list(values)
    return lambda key: left.pop(0)


def test_an_outlived_token_is_replaced(client, sandbox, clock):
    send(client)
    clock.offset_s = 7300
    assert send(client)


def test_many_threads_that_meet_a_dead_token_all_get_through(client, sandbox):
    send(client)
    ask(sandbox, "/behaviour", target="token", mode="invalid")
    failures = []

    def one():
        try:
            send(client)
        except WeChatApiError as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# messages


def test_a_message_arrives_as_it_was_sent(client, sandbox):
    openid = "oCarol-000003"
    msgid = send(client, openid)
    [message] = messages(sandbox, openid)
    assert (str(message["msgid"]), message["data"]) == (msgid, DATA)
    assert (message["title"], message["page"]) == ("欠费提醒", "pages/bills/bills")


def test_a_message_the_resident_refused_is_a_lasting_refusal(client, sandbox):
    ask(sandbox, "/behaviour", target="message", mode="refused", match=ALICE)
    before = len(messages(sandbox, ALICE))
    assert refusal(lambda: send(client)) == (43101, True)
    assert len(messages(sandbox, ALICE)) == before


def test_a_template_of_the_companys_own_can_be_registered(client, sandbox):
    fields = {"name1": "户主", "phrase2": "供热状态"}
    ask(sandbox, "/wechat/template", template_id="own-1", title="停热通知", fields=fields)
    openid = "oDora-0000004"
    send(client, openid, "own-1", {"name1": "张三", "phrase2": "已停热"})
    [message] = messages(sandbox, openid)
    assert (message["title"], message["labels"]) == ("停热通知", fields)
    unknown = {"template_id": "own-2", "title": "x", "fields": {"picture1": "图"}}
    answer = requests.post(sandbox.url + "/sandbox/wechat/template", json=unknown, timeout=5)
    assert answer.status_code == 400


def test_a_quota_used_up_is_a_passing_error(client, sandbox):
    ask(sandbox, "/behaviour", target="message", mode="error", params={"errcode": 45009})
    assert refusal(lambda: send(client)) == (45009, False)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"template": "nobodys-template"}, 40037),
        ({"openid": "x"}, 40003),
        ({"data": {"thing1": "少了别的"}}, 47003),
        ({"data": DATA | {"thing1": "长" * 21}}, 47003),
        ({"data": DATA | {"amount2": "很多钱"}}, 47003),
        ({"data": DATA | {"thing4": ""}}, 47003),
    ],
)
def test_a_message_wechat_would_refuse_is_refused(client, change, code):
    assert refusal(lambda: send(client, **change)) == (code, True)
