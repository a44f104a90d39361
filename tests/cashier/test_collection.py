"""Bank collection: a bill is asked for once, taken once, and free again when the bank says no."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import reversal, wallet
from backend.billing import service as billing
from backend.billing.models import Bill
from backend.cashier import (
    asking,
    collection,
    collection_end,
    collection_export,
    collection_results,
    collection_views,
    counter,
    mandates,
    service,
    shifts,
)
from backend.cashier.collection_models import CollectionLine, CollectionResult, Mandate
from backend.cashier.counter import Taking, Tender
from backend.cashier.mandates import Agreement
from backend.cashier.models import FinanceDay, OrderItem, PaymentOrder
from backend.cashier.service import Door
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.models import Entry
from payments import bank
from payments.sandbox import bank_desk
from tests import builders
from tests.cashier import collecting
from tests.cashier.collecting import GOOD, LAYOUT, POOR, SLOW, TODAY, answered, draft, sent, take


def refused(code):
    return pytest.raises(Problem, match=f"^{code}:")


def states(*bills):
    return [db.session.get(Bill, b.id, populate_existing=True).state for b in bills]


def lines(batch):
    return [(r["state"], r["amount_fen"]) for r in collection_views.lines(batch.id)]


@pytest.fixture
def town(app):
    return collecting.make_town()


# --- mandates


def test_a_mandate_keeps_its_card_sealed_and_shows_four_digits(town):
    town.flat("6222020200011112222")
    (seen,) = mandates.listed()
    assert (seen["card"], seen["holder"]) == ("**** 2222", "张**")
    row = db.session.scalars(sa.select(Mandate)).one()
    assert b"6222" not in row.card_sealed and "张".encode() not in row.holder_sealed


def test_a_household_has_one_standing_mandate_and_may_sign_again_after_it_ends(town, clock):
    household = town.flat(GOOD)
    again = Agreement(household.account_no, "icbc", "C9", "李四", GOOD, TODAY)
    with refused("mandate_standing"):
        mandates.sign(again, town.zhou, clock.now())
    mandates.cancel(mandates.listed()[0]["id"], "住户要求", town.zhou, clock.now())
    mandates.sign(again, town.zhou, clock.now())
    db.session.commit()
    with refused("mandate_ended"):
        mandates.cancel(mandates.listed()[1]["id"], "再来", town.zhou, clock.now())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"card_no": "62 22"}, "card_no"),
        ({"holder": "张|三"}, "holder"),
        ({"contract_no": "协议"}, "contract_no"),
        ({"valid_to": TODAY.replace(year=2020)}, "valid_to"),
    ],
)
def test_a_mandate_that_cannot_be_right_names_its_field(town, clock, change, field):
    household = builders.make_household(town.building, "900")
    fields = {
        "account_no": household.account_no,
        "bank": "icbc",
        "contract_no": "C1",
        "holder": "张三",
        "card_no": GOOD,
        "valid_from": TODAY,
    }
    with pytest.raises(Problem) as caught:
        mandates.sign(Agreement(**{**fields, **change}), town.zhou, clock.now())
    assert (caught.value.code, caught.value.field) == ("validation", field)


# --- drafting and sending


def test_a_batch_takes_what_is_due_of_who_has_signed(town, clock):
    town.flat(GOOD, 1000, 200)
    town.flat(GOOD, 3000, due_on=TODAY.replace(year=2027))
    builders.make_bill(builders.make_household(town.building, "800"), 500, TODAY)
    batch = draft(town, clock.now())
    assert batch.batch_no == "ICBC2026112001"
    assert lines(batch) == [("waiting", 1200)]
    with refused("collection_empty"):
        draft(town, clock.now())


def test_one_deduction_a_bill_where_asked_and_of_one_utility(town, clock):
    town.flat(GOOD, 1000, 200, 50)
    batch = draft(town, clock.now(), by="bill")
    assert lines(batch) == [("waiting", 1000), ("waiting", 200), ("waiting", 50)]
    town.flat(GOOD, 700, 80)
    assert lines(draft(town, clock.now(), utility="water")) == [("waiting", 80)]


def test_drafting_many_costs_no_more_statements_than_drafting_few(town, clock, queries):
    town.flat(GOOD, 100)
    queries.clear()
    draft(town, clock.now())
    few = len(queries)
    for _ in range(12):
        town.flat(GOOD, 100, 50)
    queries.clear()
    draft(town, clock.now())
    assert len(queries) == few


def test_nobody_approves_what_he_drafted_and_nothing_unapproved_is_sent(town, clock):
    town.flat(GOOD, 1000)
    batch = draft(town, clock.now())
    with refused("second_person"):
        collection.approve(batch.batch_no, town.zhou, clock.now())
    db.session.rollback()
    with refused("collection_moved_on"):
        collection_export.export(batch.batch_no, town.zhou, clock.now())


def test_the_file_is_written_once_and_kept_sealed_with_its_hash(town, clock):
    town.flat("6222020200011112222", 1000)
    batch = sent(town, clock.now())
    again = collection_export.export(batch.batch_no, town.li, clock.advance(hours=1))
    assert again.sha256 == batch.sha256 and again.exported_by == town.zhou.id
    data = collecting.file_of(town, batch, clock.now())
    assert b"6222020200011112222" in data and "张三丰".encode("gbk") in data
    assert b"6222020200011112222" not in batch.file_sealed
    head, rows = bank_desk.accept(LAYOUT, data)
    assert (head["batch_no"], head["total_fen"], rows[0]["purpose"]) == (
        batch.batch_no,
        1000,
        "热费",
    )


def test_what_was_paid_before_the_export_is_left_out(town, clock):
    town.flat(GOOD, 1000)
    town.flat(GOOD, 500)
    batch = draft(town, clock.now())
    billing.apply_payment(town.bills[0].id, 1000, clock.now())
    collection.approve(batch.batch_no, town.li, clock.now())
    db.session.commit()
    collection_export.export(batch.batch_no, town.zhou, clock.now())
    assert lines(batch) == [("withdrawn", 1000), ("waiting", 500)]


def test_a_bill_at_the_bank_is_taken_neither_online_nor_at_the_counter(town, clock):
    household = town.flat(GOOD, 1000)
    resident = builders.make_resident()
    builders.bind(resident, household)
    shifts.add_drawer("D1", "一号台")
    shifts.open_shift(town.zhou, 1, {}, clock.now())
    db.session.commit()
    sent(town, clock.now())
    ids = (town.bills[0].id,)
    with refused("bill_in_collection"):
        service.payable_by(resident.id, ids)
    with refused("bill_in_collection"):
        cash = Taking(household.id, ids, 0, 1000, Tender("cash", 1000))
        counter.take(town.zhou, "k", cash, clock.now())
    assert ledger.check() == []


def test_a_bill_of_a_draft_is_taken_at_the_counter_and_leaves_the_batch(town, clock):
    household = town.flat(GOOD, 1000)
    shifts.add_drawer("D1", "一号台")
    shifts.open_shift(town.zhou, 1, {}, clock.now())
    db.session.commit()
    batch = draft(town, clock.now())
    cash = Taking(household.id, (town.bills[0].id,), 0, 1000, Tender("cash", 1000))
    counter.take(town.zhou, "k", cash, clock.now())
    assert lines(batch) == [("withdrawn", 1000)]
    collection.approve(batch.batch_no, town.li, clock.now())
    db.session.commit()
    with refused("collection_empty"):
        collection_export.export(batch.batch_no, town.zhou, clock.now())


# --- results


def test_a_success_is_posted_once_and_a_failure_frees_the_bill(town, clock):
    rich, poor = town.flat(GOOD, 1000, 200), town.flat(POOR, 500)
    batch = sent(town, clock.now())
    made, new = take(town, answered(town, batch, clock.now()), clock.now())
    assert new and (made.success_count, made.success_fen, made.failed_count) == (1, 1200, 1)
    assert states(*town.bills) == ["paid", "paid", "issued"]
    assert ledger.balance_fen("clearing:bank") == 1200
    assert ledger.balance_fen(f"receivable:heat:{rich.id}") == 0
    assert ledger.balance_fen(f"receivable:heat:{poor.id}") == 500
    failed = collection_views.lines(batch.id, state="failed")[0]
    assert (failed["code"], failed["reason"]) == ("1001", "账户余额不足")
    assert lines(draft(town, clock.advance(hours=1))) == [("waiting", 500)]
    assert ledger.check() == []


def test_the_same_file_twice_is_taken_once(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    first, _ = take(town, data, clock.now())
    again, new = take(town, data, clock.advance(hours=1))
    assert (again.id, new) == (first.id, False)
    assert db.session.scalar(sa.select(sa.func.count()).select_from(CollectionResult)) == 1
    assert ledger.balance_fen("clearing:bank") == 1000


def test_a_result_in_two_parts_is_the_whole(town, clock):
    for _ in range(5):
        town.flat(GOOD, 100)
    batch = sent(town, clock.now())
    take(town, answered(town, batch, clock.now(), "first_half"), clock.now())
    assert ledger.balance_fen("clearing:bank") == 200
    take(town, answered(town, batch, clock.now(), "second_half"), clock.now())
    take(town, answered(town, batch, clock.now()), clock.now())  # the whole once more
    assert ledger.balance_fen("clearing:bank") == 500
    assert {state for state, _ in lines(batch)} == {"success"}
    assert ledger.check() == []


@pytest.mark.parametrize(
    ("fate", "code"),
    [
        ("wrong_amount", "amount"),
        ("unknown_line", "unknown_line"),
        ("row_twice", "duplicate"),
        ("tampered_total", "digest"),
        ("wrong_encoding", "encoding"),
        ("cut_off", "columns"),
    ],
)
def test_a_file_with_a_fault_changes_nothing_and_is_kept_with_its_reason(town, clock, fate, code):
    for fen in (1000, 300, 200, 100):
        town.flat(GOOD, fen)
    batch = sent(town, clock.now())
    with pytest.raises(Problem) as caught:
        take(town, answered(town, batch, clock.now(), fate), clock.now())
    assert caught.value.code == "result_refused"
    assert caught.value.extra["rows"][0]["code"] == code
    kept = db.session.scalars(sa.select(CollectionResult)).one()
    assert (kept.outcome, kept.problems["rows"][0]["code"]) == ("refused", code)
    assert {state for state, _ in lines(batch)} == {"waiting"}
    assert ledger.balance_fen("clearing:bank") == 0
    take(town, answered(town, batch, clock.now()), clock.now())
    assert ledger.balance_fen("clearing:bank") == 1600


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"merchant": "M0002"}, "merchant"),
        ({"batch_no": "ICBC2026112099"}, "unknown_batch"),
        ({"day": TODAY + timedelta(days=1)}, "time"),
        ({"day": TODAY - timedelta(days=1)}, "time"),
    ],
)
def test_a_result_that_is_about_something_else_changes_nothing(town, clock, change, code):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    head, rows = bank_desk.accept(LAYOUT, collecting.file_of(town, batch, clock.now()))
    done = bank_desk.carry_out(LAYOUT, rows, TODAY)
    data = bank.write(LAYOUT.sheets["result"], {**head, "day": TODAY, **change}, done)
    with pytest.raises(Problem) as caught:
        take(town, data, clock.now())
    (fault,) = caught.value.extra["rows"]
    assert (caught.value.code, fault["code"]) == ("result_refused", code)
    assert f"第 {fault['line']} 行：{fault['reason']}" in caught.value.detail
    assert {state for state, _ in lines(batch)} == {"waiting"}
    assert ledger.balance_fen("clearing:bank") == 0


def test_another_banks_batch_is_none_of_this_banks(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    mandates.add_bank("abc", "农业银行", "collection-fixed", "M0001")
    db.session.commit()
    with pytest.raises(Problem) as caught:
        collection_results.take("abc", "回盘.txt", data, town.zhou, clock.now())
    assert caught.value.extra["rows"][0]["code"] == "unknown_batch"
    assert ledger.balance_fen("clearing:bank") == 0


@pytest.mark.parametrize(("data", "code"), [(b"", "empty"), (b"x" * 2_000, "too_large")])
def test_a_result_that_is_empty_or_beyond_the_limit_is_kept_as_refused(
    town, clock, monkeypatch, data, code
):
    monkeypatch.setattr(bank, "MAX_FILE_BYTES", 1_000)
    with pytest.raises(Problem) as caught:
        take(town, data, clock.now())
    assert caught.value.extra["rows"][0]["code"] == code
    assert db.session.scalars(sa.select(CollectionResult.outcome)).one() == "refused"


def test_a_result_of_a_closed_day_is_posted_today(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    clock.advance(days=1)
    db.session.add(FinanceDay(day=TODAY, closed_at=clock.now(), summary={}))
    db.session.commit()
    take(town, data, clock.now())
    assert ledger.balance_fen("clearing:bank") == 1000
    days = db.session.scalars(sa.select(Entry.day).where(Entry.kind == "payment"))
    assert list(days) == [TODAY + timedelta(days=1)]


def test_a_result_for_a_cancelled_batch_is_refused_and_its_bills_are_free(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    with refused("second_person"):
        collection_end.cancel(batch.batch_no, "没有送出", town.zhou, clock.now())
    db.session.rollback()
    collection_end.cancel(batch.batch_no, "没有送出", town.li, clock.now())
    db.session.commit()
    with pytest.raises(Problem) as caught:
        take(town, data, clock.now())
    assert caught.value.extra["rows"][0]["code"] == "batch_state"
    assert states(*town.bills) == ["issued"]
    assert ledger.balance_fen("clearing:bank") == 0
    assert lines(draft(town, clock.now())) == [("waiting", 1000)]


def test_a_bank_that_changes_its_mind_is_not_believed(town, clock):
    town.flat(POOR, 1000)
    batch = sent(town, clock.now())
    data = collecting.file_of(town, batch, clock.now())
    take(town, bank_desk.answer(LAYOUT, data, TODAY), clock.now())
    head, rows = bank_desk.accept(LAYOUT, data)
    done = bank_desk.carry_out(LAYOUT, [{**rows[0], "card_no": GOOD}], TODAY)
    with pytest.raises(Problem) as caught:
        take(town, bank_desk.result_file(LAYOUT, head, done, TODAY), clock.now())
    assert caught.value.extra["rows"][0]["code"] == "conflict"


def test_what_the_bank_does_not_know_yet_stays_held_until_it_does(town, clock):
    town.flat(SLOW, 1000)
    batch = sent(town, clock.now())
    data = collecting.file_of(town, batch, clock.now())
    take(town, bank_desk.answer(LAYOUT, data, TODAY), clock.now())
    assert lines(batch) == [("unknown", 1000)]
    with refused("collection_unfinished"):
        collection_end.close(batch.batch_no, "", town.zhou, clock.now())
    db.session.rollback()
    head, rows = bank_desk.accept(LAYOUT, data)
    done = bank_desk.carry_out(LAYOUT, [{**rows[0], "card_no": GOOD}], TODAY)
    take(town, bank_desk.result_file(LAYOUT, head, done, TODAY), clock.now())
    assert lines(batch) == [("success", 1000)]
    collection_end.close(batch.batch_no, "", town.zhou, clock.now())
    db.session.commit()
    assert ledger.check() == []


def test_a_late_success_of_a_closed_batch_is_taken_and_what_is_not_owed_goes_to_the_balance(
    town, clock
):
    household = town.flat(SLOW, 1000)
    batch = sent(town, clock.now())
    data = collecting.file_of(town, batch, clock.now())
    collection_end.close(batch.batch_no, "银行三天没有回盘", town.zhou, clock.now())
    db.session.commit()
    billing.apply_payment(town.bills[0].id, 1000, clock.now())  # paid another way meanwhile
    paid = [(chart.bank("main"), 1000), (chart.receivable("heat", household.id), -1000)]
    ledger.post("test:1", "transfer", clock.now(), paid)
    db.session.commit()
    head, rows = bank_desk.accept(LAYOUT, data)
    done = bank_desk.carry_out(LAYOUT, [{**rows[0], "card_no": GOOD}], TODAY)
    take(town, bank_desk.result_file(LAYOUT, head, done, TODAY), clock.now())
    assert wallet.held_fen(household.id) == 1000
    assert ledger.check() == []


def test_what_goes_into_the_balance_pays_what_is_owed_since(town, clock):
    household = town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    reversal.reverse(town.bills[0].id, "面积有误", town.zhou, town.li, clock.now())
    db.session.commit()
    later = builders.make_bill(household, 400, TODAY, utility="water")
    take(town, answered(town, batch, clock.now()), clock.now())
    assert states(later) == ["paid"]
    assert wallet.held_fen(household.id) == 600


def test_taking_in_many_costs_no_more_statements_than_taking_few(town, clock, queries):
    town.flat(GOOD, 100)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    queries.clear()
    take(town, data, clock.now())
    few = len(queries)
    for _ in range(12):
        town.flat(GOOD, 100, 50)
    batch = sent(town, clock.now())
    data = answered(town, batch, clock.now())
    queries.clear()
    take(town, data, clock.now())
    assert len(queries) <= few + 2, queries


def test_an_import_that_dies_at_any_commit_or_statement_is_all_or_nothing(town, clock, app):
    """The process dies at the n-th statement of the import, for every n until it lives."""
    for fen in (1000, 200):
        town.flat(GOOD, fen)
    batch = sent(town, clock.now())
    data, batch_id = answered(town, batch, clock.now()), batch.id

    class Died(BaseException):
        pass

    doom = {"at": 0, "seen": 0}

    def count(*_args):
        doom["seen"] += 1
        if doom["seen"] == doom["at"]:
            raise Died

    db.event.listen(db.engine, "before_cursor_execute", count)
    died = 0
    try:
        for at in range(1, 200):
            doom.update(at=at, seen=0)
            try:
                take(town, data, clock.now())
                break
            except Died:
                doom["at"] = 0
                died += 1
                db.session.rollback()
                db.session.remove()
                assert ledger.balance_fen("clearing:bank") == 0
                found = collection_views.lines(batch_id)
                assert {row["state"] for row in found} == {"waiting"}
    finally:
        db.event.remove(db.engine, "before_cursor_execute", count)
    assert died > 8
    assert ledger.balance_fen("clearing:bank") == 1200
    assert db.session.scalar(sa.select(sa.func.count()).select_from(CollectionResult)) == 1
    assert ledger.check() == []


def test_an_order_at_the_bank_outlives_the_sweep_and_a_forgotten_draft_does_not(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    town.flat(GOOD, 300)
    drafted = draft(town, clock.now())
    clock.advance(days=61)
    for number in db.session.scalars(sa.select(PaymentOrder.out_trade_no)).all():
        asking.refresh(number, clock.now())
    assert lines(batch) == [("waiting", 1000)]
    assert lines(drafted) == [("withdrawn", 300)]
    open_items = sa.select(sa.func.count()).select_from(OrderItem).where(OrderItem.open)
    assert db.session.scalar(open_items) == 1


def test_nobody_opens_an_order_over_the_bank_by_himself(town, clock):
    household = town.flat(GOOD, 1000)
    resident = builders.make_resident()
    builders.bind(resident, household)
    with refused("way_unknown"):
        service.create_order(resident.id, [town.bills[0].id], Door("bank"), clock.now())


def test_the_entries_of_a_batch_name_it(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    take(town, answered(town, batch, clock.now()), clock.now())
    number = db.session.scalars(sa.select(CollectionLine.order_no)).one()
    entry = db.session.scalars(sa.select(Entry).where(Entry.business_key == f"bank:{number}")).one()
    assert entry.detail == {"out_trade_no": number, "batch_no": batch.batch_no}
    assert collection_results.MAX_KEPT == 100


def test_a_line_that_says_otherwise_than_its_order_is_found(town, clock):
    town.flat(GOOD, 1000)
    batch = sent(town, clock.now())
    take(town, answered(town, batch, clock.now()), clock.now())
    number = db.session.scalars(sa.select(CollectionLine.order_no)).one()
    db.session.execute(sa.update(CollectionLine).values(state="failed"))
    db.session.commit()
    assert ledger.check() == [f"collection line {number}: failed, its order is paid"]
