"""`nuan check-bill`: one line a bill, exit 1 where something differs, 2 where there is none."""

import sqlalchemy as sa
from click.testing import CliRunner

from backend.base.db import db
from backend.billing.models import BillLine
from collectors.check_bill import check_bill
from tests.billing.test_recheck import water

__all__ = ["water"]


def run(database, *words):
    env = {"NUAN_ENV": "test", "DATABASE_URL": database}
    return CliRunner().invoke(check_bill, list(words), env=env)


def test_every_bill_is_said_to_be_equal_and_the_sum_at_the_end(database, water):
    done = run(database, "--all")
    assert done.exit_code == 0
    assert f"{water.bill_no}  相符" in done.output
    assert "共 1 项，不符 0 项" in done.output


def test_a_bill_that_differs_ends_with_one_and_says_where(database, water):
    db.session.execute(sa.update(BillLine).values(amount_fen=BillLine.amount_fen + 1))
    db.session.commit()
    done = run(database, water.bill_no)
    assert (done.exit_code, "不符" in done.output, "重算" in done.output) == (1, True, True)


def test_a_bill_that_is_not_there_ends_with_two(database, water):
    assert run(database, "nothing").exit_code == 2
