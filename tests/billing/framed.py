"""Readings with the very frames simulated meters answer with, and a hand that tampers."""

from __future__ import annotations

import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.db import db
from backend.billing.recheck import Checker
from backend.metering.service import NewReading, record
from collectors.frames import cjt188
from collectors.map_files import field_maps
from collectors.reading import METER_TYPES
from collectors.redecode import decoder
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter


def frame_of(meter, register, at):
    """What the meter answers when it shows `register`."""
    if meter.kind == "heat":
        values = {
            "energy_wh": register,
            "volume_l": 0,
            "flow_lph": 0,
            "power_w": 0,
            "supply_cdeg": 4_500,
            "return_cdeg": 3_500,
            "working_h": 1,
        }
        simulated = CjtHeatMeter(meter.address, lambda now: values)
    else:
        name = "energy_wh" if meter.kind == "electricity" else "volume_l"
        simulated = CjtUtilityMeter(meter.kind, meter.address, lambda now: {name: register})
    asked = cjt188.encode_read(meter.address, METER_TYPES[meter.kind])
    request, _ = cjt188.decode(asked)
    answer, _ = cjt188.decode(simulated.answer(request, at))
    return answer.raw


def read(meter, *registers):
    """Store (moment, register) pairs of a meter with their frames."""
    record(
        [
            NewReading(
                meter.id, at, "collector", register=register, frame=frame_of(meter, register, at)
            )
            for at, register in registers
        ]
    )
    db.session.commit()


def checker():
    """With the collector's own codecs."""
    return Checker(decoder(field_maps()))


def meter_of(home, kind="water"):
    query = sa.select(Meter).where(Meter.household_id == home.id, Meter.kind == kind)
    return db.session.scalars(query).one()


def tamper(statement, **values):
    """Change what triggers protect, as somebody with the database's own password could."""
    db.session.execute(sa.text("SET session_replication_role = replica"))
    assert db.session.execute(sa.text(statement), values).rowcount
    db.session.execute(sa.text("SET session_replication_role = DEFAULT"))
    db.session.commit()
    db.session.expire_all()
