"""Vouchers: balanced, numbered, in the ERP's own accounts, and the same bytes ever after."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from openpyxl import load_workbook

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import months, voucher_layouts, vouchers
from backend.ledger import chart
from backend.ledger import service as ledger
from tests import builders
from tests.cashier.test_months import IN_OCTOBER, OCTOBER, close, finance, home, pay, refused, zhou

__all__ = ["home", "zhou"]


@pytest.fixture
def month(home, zhou, clock):
    """October, with two days' payments and a fee, closed; the sample's accounts."""
    neighbour = builders.make_household(builders.make_building("B"), "202")
    builders.make_bill(neighbour, 500, issued_at=IN_OCTOBER)
    pay("wechat:2", 500, neighbour, IN_OCTOBER + timedelta(days=3))
    lines = [(chart.fee("wechat"), 3), (chart.clearing("wechat"), -3)]
    ledger.post("wechat:fee:1", "fee", datetime(2026, 10, 19, 4, tzinfo=UTC), lines)
    vouchers.load_sample(zhou, clock.now())
    db.session.commit()
    return close(OCTOBER, zhou, clock, "当月试运行")


def export(layout, zhou, clock):
    made = vouchers.export(OCTOBER, layout, zhou, clock.now())
    db.session.commit()
    data = made.file.read()
    made.file.close()
    return made, data


def read_csv(data):
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_a_month_becomes_balanced_vouchers_by_day_and_kind(month, zhou, clock):
    made, data = export("generic-csv", zhou, clock)
    rows = read_csv(data)
    assert (made.run.vouchers, made.run.lines, made.again) == (3, 6, False)
    assert [(r["凭证号"], r["科目代码"], r["借方金额"], r["贷方金额"]) for r in rows] == [
        ("1", "1122.01", "105.00", ""),
        ("1", "6001.01", "", "105.00"),
        ("2", "1012.01", "45.00", ""),
        ("2", "1122.01", "", "45.00"),
        ("3", "6603.01", "0.03", ""),
        ("3", "1012.01", "", "0.03"),
    ]
    assert rows[0]["摘要"] == "10月15日账单应收"
    assert rows[0]["辅助核算"] == "客户=居民用户"


def test_the_same_month_again_is_the_same_bytes_and_says_so(month, zhou, clock):
    for layout in vouchers.layouts():
        first, data = export(layout, zhou, clock)
        clock.advance(days=3)
        vouchers.set_account("revenue:heat", "9999", "别的", "", zhou, clock.now())
        again, same = export(layout, zhou, clock)
        assert same == data
        assert (again.again, again.run.exports, again.run.id) == (True, 2, first.run.id)
        assert "重复导出" in again.name and "重复导出" not in first.name


@pytest.mark.parametrize("layout", ["generic-xlsx", "erp-sample"])
def test_a_workbook_opens_and_says_the_same(month, zhou, clock, layout):
    _, data = export(layout, zhou, clock)
    sheet = load_workbook(io.BytesIO(data)).worksheets[0]
    rows = [[c.value for c in row] for row in sheet.iter_rows()]
    titles = [c.title for c in vouchers.layouts()[layout].columns]
    assert rows[0] == titles
    debit = next(i for i, t in enumerate(titles) if t in ("借方金额", "FDebit"))
    assert sum(row[debit] or 0 for row in rows[1:]) == pytest.approx(150.03)
    assert sum(row[debit + 1] or 0 for row in rows[1:]) == pytest.approx(150.03)


def test_only_a_closed_month_with_all_its_accounts_known_is_exported(home, zhou, clock):
    with refused("month_not_closed"):
        vouchers.export(OCTOBER, "generic-csv", zhou, clock.now())
    db.session.rollback()
    close(OCTOBER, zhou, clock, "当月试运行")
    with pytest.raises(Problem) as caught:
        vouchers.export(OCTOBER, "generic-csv", zhou, clock.now())
    assert caught.value.code == "vouchers_unmapped"
    assert caught.value.extra["accounts"] == ["clearing:wechat", "receivable:heat", "revenue:heat"]


def test_a_month_closed_again_is_another_run(month, home, zhou, clock):
    first, data = export("generic-csv", zhou, clock)
    months.ask_reopen(OCTOBER, "漏记一笔收款", zhou, clock.now())
    months.reopen(OCTOBER, finance("li"), clock.now())
    db.session.commit()
    pay("wechat:5", 100, home, IN_OCTOBER)
    close(OCTOBER, zhou, clock, "当月试运行")
    second, other = export("generic-csv", zhou, clock)
    assert (first.run.month_run, second.run.month_run, second.again) == (1, 2, False)
    assert other != data
    assert "第2版" in second.name


def test_what_somebody_typed_is_no_formula_in_a_spreadsheet(month, zhou, clock):
    vouchers.set_account("revenue:heat", "6001", '=HYPERLINK("x")', "@SUM(1)", zhou, clock.now())
    _, data = export("generic-csv", zhou, clock)
    row = next(r for r in read_csv(data) if r["科目代码"] == "6001")
    assert (row["科目名称"], row["辅助核算"]) == ('\'=HYPERLINK("x")', "'@SUM(1)")
    assert [voucher_layouts.fenced(t) for t in ("+1", "-1", "\t=1", "热费")] == [
        *("'+1", "'-1", "'\t=1"),
        "热费",
    ]


def test_the_longest_prefix_wins():
    known = {"receivable:": ("1", "a", ""), "receivable:heat": ("2", "b", "")}
    assert vouchers.mapped("receivable:heat", known) == ("2", "b", "")
    assert vouchers.mapped("receivable:gas", known) == ("1", "a", "")
    assert vouchers.mapped("cash:D1", known) is None


def test_a_format_with_flaws_is_refused_with_each():
    with pytest.raises(voucher_layouts.LayoutError, match="file must be csv or xlsx"):
        voucher_layouts.parse(
            'name="a"\ntitle="b"\nsource="c"\nfile="pdf"\ncolumns=[{title="x",field="y"}]'
        )


def test_a_large_month_is_written_as_it_is_read(month):
    """Memory does not grow with the rows: they are made one by one and never kept."""
    alive = 0
    most = 0

    class Counted(voucher_layouts.Row):
        def __init__(self, *args):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            super().__init__(*args)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def many():
        for n in range(20_000):
            yield Counted(OCTOBER, n, 1, "bill", "摘要", "c", "1", "名", "", 1, 0, "公司")

    for layout in vouchers.layouts().values():
        voucher_layouts.write(layout, many(), io.BytesIO())
    assert most < 10
