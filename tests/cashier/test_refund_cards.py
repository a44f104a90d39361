"""异常退款转银行卡: typed by one, agreed to by another, sent once, never read in clear again."""

import json
import logging

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests
from backend.billing.models import BillingRequest
from backend.cashier import asking, cases, receiving, refund_cards, refund_desk, refunds, topups
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.cashier.till import ALIPAY, WECHAT, alice, app, newest, tap
from tests.outside import work

__all__ = ["alice", "app", "tap"]

CARD = ("ICBC_DEBIT", "6222 0212 3456 7890 128", "王小明")
CALL = "/v3/refund/domestic/refunds/{}/apply-abnormal-refund"


@pytest.fixture
def people(app):
    made = [builders.make_staff(name, roles=["finance"]) for name in ("min", "hua")]
    return [Principal("staff", one.id, frozenset({"finance"})) for one in made]


@pytest.fixture
def abnormal(alice, people, clock, tap, phone, database):
    """A refund of a top-up that came back from the payer's bank."""

    def run(door=WECHAT):
        wish = topups.Wish(alice.household.id, "wallet", 5000)
        order, pay = topups.create(alice.id, wish, door, clock.now())
        phone.behave("payment_notice", "never", match=order.out_trade_no)
        tap(door, pay)
        asking.refresh(order.out_trade_no, clock.now())
        phone.behave("refund", "abnormal", match=order.out_trade_no)
        wanted = refund_desk.Wanted(order.out_trade_no, 1000)
        made = refund_desk.ask(wanted, "用户申请", "tap", people[0], clock.now())
        db.session.commit()
        work(database)
        return refund_desk.refund_of(made.out_refund_no)

    return run


def asked(refund, who, clock, card=CARD):
    made = refund_cards.ask(refund, *card, "原卡已注销", who, clock.now())
    db.session.commit()
    return made


def agreed(refund, people, clock):
    requests.approve(asked(refund, people[0], clock).id, people[1], clock.now())
    db.session.commit()
    return refund_desk.refund_of(refund.out_refund_no)


def test_it_goes_to_the_card_and_the_channel_tells_when_it_is_there(
    abnormal, people, clock, database, hook, phone
):
    refund = abnormal()
    order = cases.found("refund", refund.out_refund_no).out_trade_no
    phone.behave("card_refund", "processing", match=order)
    assert agreed(refund, people, clock).state == "to_card"
    work(database)
    refund = refund_desk.refund_of(refund.out_refund_no)
    assert (refund.state, refund.done_at) == ("on_card", None)  # accepted is not yet there
    phone.post(f"refunds/{refund.out_refund_no}/settle", status="SUCCESS")
    headers, body = newest(hook, "REFUND.SUCCESS")
    told = receiving.receive_notice("wechat", headers, body, clock.now())
    assert told.outcome == "refund_done"
    refund = refund_desk.refund_of(refund.out_refund_no)
    assert refund.state == "done"
    told = receiving.receive_notice("wechat", headers, body, clock.now())
    assert told.outcome == "refund_repeat"
    assert cases.found("refund", refund.out_refund_no).state == "done"
    assert ledger.balance_fen("suspense:wechat") == 0
    assert ledger.check() == []


def test_without_a_notice_it_is_found_by_asking(abnormal, people, clock, database):
    refund = agreed(abnormal(), people, clock)
    work(database)
    refunds.send(refund.id, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"
    assert ledger.check() == []


def test_one_person_alone_sends_nothing(abnormal, people, clock, database, phone):
    refund = abnormal()
    request = asked(refund, people[0], clock)
    with pytest.raises(Problem, match="second_person"):
        requests.approve(request.id, people[0], clock.now())
    db.session.rollback()
    with pytest.raises(Problem, match="request_open"):
        asked(refund, people[1], clock)
    db.session.rollback()
    work(database)
    assert refund_desk.refund_of(refund.out_refund_no).state == "abnormal"
    assert phone.calls(CALL.format(refund.refund_id)) == 0


def test_the_card_is_nowhere_to_be_read(abnormal, people, clock, database, caplog):
    caplog.set_level(logging.DEBUG)
    refund = agreed(abnormal(), people, clock)
    work(database)
    kept = db.session.execute(sa.text("SELECT params::text FROM billing_request")).scalars()
    audited = db.session.execute(sa.text("SELECT detail::text FROM audit_event")).scalars()
    said = json.dumps(
        cases.history(cases.found("refund", refund.out_refund_no).id),
        default=str,
        ensure_ascii=False,
    )
    everything = "".join([*kept, *audited, said, caplog.text])
    digits = CARD[1].replace(" ", "")
    assert "尾号 0128" in said
    for secret in (digits, CARD[1], "王小明", digits[:12]):
        assert secret not in everything
    card = db.session.query(BillingRequest).one().params["card"]
    assert card["tail"] == "0128" and len(card["number"]) == 344  # 256 bytes, sealed


def test_a_card_the_bank_refuses_too_waits_for_a_person_again(
    abnormal, people, clock, database, phone
):
    refund = abnormal()
    order = cases.found("refund", refund.out_refund_no).out_trade_no
    phone.behave("card_refund", "abnormal", match=order)
    agreed(refund, people, clock)
    work(database)
    refunds.send(refund.id, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "abnormal"
    assert phone.calls(CALL.format(refund.refund_id)) == 1
    agreed(refund, people, clock)  # another card
    work(database)
    refunds.send(refund.id, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"
    assert ledger.check() == []


def test_the_first_failures_notice_repeated_does_not_stop_it(
    abnormal, people, clock, database, hook, phone
):
    refund = abnormal()
    order = cases.found("refund", refund.out_refund_no).out_trade_no
    phone.behave("card_refund", "processing", match=order)
    first = newest(hook, "REFUND.ABNORMAL")
    agreed(refund, people, clock)
    receiving.receive_notice("wechat", *first, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "to_card"
    work(database)
    receiving.receive_notice("wechat", *first, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "on_card"
    with pytest.raises(Problem, match="refund_moved_on"):  # nor is it paid out beside the card
        refund_desk.ask_pay_out(refund.out_refund_no, "HX-1", "另付", people[0], clock.now())


@pytest.mark.parametrize("mode", ["error_after", "unsigned", "forged_signature"])
def test_an_answer_that_is_lost_or_not_believed_sends_nothing_twice(
    abnormal, people, clock, database, phone, mode
):
    refund = agreed(abnormal(), people, clock)
    phone.behave("answer", mode, match="refund_to_card")
    work(database)
    clock.advance(seconds=31)
    work(database)
    if refund_desk.refund_of(refund.out_refund_no).state != "done":
        refunds.send(refund.id, clock.now())
    assert refund_desk.refund_of(refund.out_refund_no).state == "done"
    assert phone.calls(CALL.format(refund.refund_id)) == 1
    assert ledger.check() == []


def test_a_refusal_of_the_channel_is_shown_and_the_money_stays_where_it_is(
    abnormal, people, clock, database, phone
):
    refund = agreed(abnormal(), people, clock)
    phone.behave("answer", "error", match="refund_to_card", params={"status": 400, "code": "X"})
    work(database)
    found = refund_desk.refund_of(refund.out_refund_no)
    assert found.state == "abnormal" and "HTTP 400" in found.said
    assert ledger.balance_fen("suspense:wechat") == -1000
    assert ledger.check() == []


@pytest.mark.parametrize(
    ("field", "card"),
    [
        ("bank", ("ICBC_CREDIT", *CARD[1:])),
        ("number", ("ICBC_DEBIT", "6222021234567890127", "王小明")),  # its check digit is wrong
        ("number", ("ICBC_DEBIT", "62220212345678901２８", "王小明")),
        ("holder", (*CARD[:2], "王")),
        ("holder", (*CARD[:2], "王\n明")),
    ],
)
def test_what_is_no_card_is_refused_before_anything_is_kept(abnormal, people, clock, field, card):
    refund = abnormal()
    with pytest.raises(Problem) as refused:
        asked(refund, people[0], clock, card)
    assert (refused.value.code, refused.value.field) == ("validation", field)
    assert card[1] not in str(refused.value)
    assert db.session.query(BillingRequest).count() == 0


def test_other_channels_and_other_states_do_not_offer_it(abnormal, people, clock, database):
    alipays = abnormal(ALIPAY)
    assert not refund_cards.offered(alipays, "alipay")
    refund = agreed(abnormal(), people, clock)
    work(database)
    with pytest.raises(Problem, match="refund_moved_on"):
        asked(refund_desk.refund_of(refund.out_refund_no), people[0], clock)
