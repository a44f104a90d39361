"""抄表成功率: how reading went, building by building, and the meters that need a person."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template

from backend.base.clock import business_day
from backend.console import queries
from backend.console.days import asked_day
from backend.console.sessions import now
from backend.people import access

EVERY_S = 10
MAX_BUILDINGS = 200  # rows on the page; the figures above them are of all


def register(blueprint: Blueprint) -> None:
    """The page, and the part of it that refreshes itself."""
    blueprint.add_url_rule("/reading", "reading_success", reading_success)
    blueprint.add_url_rule("/reading/live", "reading_live", reading_live)


@access.allow("operator", "manager")
def reading_success() -> str:
    """The whole page for the day asked for (default: today)."""
    return render_template("console/reading.html", **_facts())


@access.allow("operator", "manager")
def reading_live() -> str:
    """The figures alone, for htmx to put in place every EVERY_S seconds."""
    return render_template("console/_reading.html", **_facts())


def _facts() -> dict[str, Any]:
    moment = now()
    today = business_day(moment)
    day = asked_day(default=today, latest=today)
    buildings = queries.reading_success(day)
    silent, silent_total = queries.silent_meters(moment)
    return {
        "day": day,
        "today": today,
        "now": moment,
        "every_s": EVERY_S,
        "buildings": buildings[:MAX_BUILDINGS],
        "buildings_total": len(buildings),
        "asked": sum(b.asked for b in buildings),
        "answered": sum(b.answered for b in buildings),
        "meters": sum(b.meters for b in buildings),
        "silent": silent,
        "silent_total": silent_total,
    }
