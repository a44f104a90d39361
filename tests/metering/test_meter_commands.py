"""The commands about meters do what they say, in a process of their own."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.db import db
from backend.metering.models import Reading
from backend.metering.service import NewReading, record
from tests import builders
from tests.faults.processes import environment

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
AT = NOW - timedelta(hours=5)


@pytest.fixture
def water(app):
    house = builders.make_building()
    builders.make_staff("chen", roles=("operator",))
    meter = builders.make_meter(house, builders.make_household(house), "water", address="12345678")
    record([NewReading(meter.id, AT, "collector", register=1000)])
    db.session.commit()
    return meter


@pytest.fixture
def nuan(app, database):
    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "backend", *map(str, words)],
            env=environment(app, database), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        db.session.rollback()
        return done

    return run


def test_a_file_is_checked_dry_and_then_taken_in(water, nuan, tmp_path):
    file = tmp_path / "round.csv"
    file.write_text(f"表地址,抄表时间,读数,单位\n12345678,{NOW.isoformat()},1.5,m3\n", "utf-8")
    dry = nuan("import-readings", file, "--staff", "chen", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "共 1 行，可导入 1，重复 0，未填 0，错误 0\n"), (
        dry.stderr
    )
    assert count_manual() == 0
    done = nuan("import-readings", file, "--staff", "chen")
    assert (done.returncode, done.stdout) == (0, "共 1 行，已导入 1，重复 0，未填 0，错误 0\n")
    assert count_manual() == 1


def test_a_round_is_written_and_comes_back(water, nuan, tmp_path):
    out = tmp_path / "round.csv"
    done = nuan("export-round", "building", water.building_id, "--out", out, "--encoding", "gbk")
    assert done.returncode == 0, done.stderr
    assert "12345678" in out.read_text("gb18030")
    back = nuan("import-readings", out, "--staff", "chen")
    assert (back.returncode, back.stdout) == (0, "共 1 行，已导入 0，重复 0，未填 1，错误 0\n")
    wrong = nuan("import-readings", out, "--staff", "chen", "--layout", "nope")
    assert wrong.returncode == 1 and "handheld-txt" in wrong.stderr
    assert nuan("export-round", "region", 99999).returncode == 1


def test_a_bad_row_is_named_and_ends_with_one(water, nuan, tmp_path):
    file = tmp_path / "round.csv"
    file.write_text(f"表地址,抄表时间,读数,单位\n1,{NOW.isoformat()},1.5,m3\n", "utf-8")
    done = nuan("import-readings", file, "--staff", "chen")
    assert done.returncode == 1
    assert "第 2 行 address：没有这块表" in done.stdout
    unknown = nuan("import-readings", file, "--staff", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr


def test_a_meter_is_replaced_and_a_reading_corrected(water, nuan):
    reading_id = db.session.scalar(sa.select(Reading.id))
    done = nuan("meter", "correct", reading_id, 1001, "--reason", "看错", "--staff", "chen")
    assert done.returncode == 0, done.stderr
    done = nuan(
        "meter", "replace", water.id, "--final", 1010, "--first", 3, "--address", "87654321",
        "--reason", "漏水", "--staff", "chen",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    new = db.session.scalars(sa.select(Meter).where(Meter.removed_on.is_(None))).one()
    assert (new.address, new.first_register) == ("87654321", 3)
    low = nuan(
        "meter", "replace", new.id, "--final", 1, "--reason", "x", "--staff", "chen"
    )  # fmt: skip
    assert low.returncode == 1 and "register_decreased" in low.stderr


def count_manual():
    return db.session.scalar(
        sa.select(sa.func.count()).select_from(Reading).where(Reading.kind == "manual")
    )
