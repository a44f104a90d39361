"""阀门与拉合闸: orders to valves and relays, their words and their buttons."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from backend.base.errors import Problem
from backend.console.sessions import attempt, now
from backend.metering import commands
from backend.people import access

MIN_REASON, MAX_REASON = 2, 200
ID = "int(max=9223372036854775807)"

# What a household's supply is moved by: what it is called, its orders, what asking is called, what
# a card says of them.
SUPPLIES = {
    "valve": {
        "title": "阀门",
        "open": "开阀",
        "close": "关阀",
        "rule": "关阀须另一位同事核准；回读到阀门状态才算完成",
    },
    "relay": {
        "title": "拉合闸",
        "open": "合闸",
        "close": "拉闸",
        "rule": "拉闸须另一位同事核准；回读到继电器状态才算完成",
    },
}
COMMAND_STATES = {
    "queued": "待核准",
    "approved": "待下发",
    "sent": "已下发",
    "acknowledged": "表已应答，待回读",
    "done": "已完成（已回读）",
    "failed": "失败",
    "expired": "已过期",
    "withdrawn": "已撤回",
}


def words() -> dict[str, Any]:
    """What templates say of orders."""
    return {"supplies": SUPPLIES, "command_states": COMMAND_STATES}


def register(blueprint: Blueprint) -> None:
    """The buttons."""
    add = blueprint.add_url_rule
    add(f"/meters/<{ID}:meter_id>/supply", "supply_ask", ask, methods=["POST"])
    add(f"/commands/<{ID}:command_id>/approve", "supply_approve", approve, methods=["POST"])
    add(f"/commands/<{ID}:command_id>/withdraw", "supply_withdraw", withdraw, methods=["POST"])


@access.allow("operator")
def ask(meter_id: int) -> Response:
    """Ask for the valve or relay to be moved, with a reason."""
    action, reason = request.form.get("action", ""), request.form.get("reason", "").strip()
    if action not in commands.ACTIONS or "\x00" in reason:
        raise Problem("bad_request")
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        flash(f"请写明原因，{MIN_REASON} 到 {MAX_REASON} 个字。", "bad")
    else:
        said = "已提交，等待另一位同事核准。" if action == "close" else "已提交，正在下发。"
        attempt(lambda: commands.ask(meter_id, action, reason, access.principal(), now()), said)
    return redirect(url_for("console.meter", meter_id=meter_id), 303)


@access.allow("operator", "manager")
def approve(command_id: int) -> Response:
    """Let somebody else's order go."""
    meter_id = commands.command_of(command_id).meter_id
    attempt(lambda: commands.approve(command_id, access.principal(), now()), "已核准，正在下发。")
    return redirect(url_for("console.meter", meter_id=meter_id), 303)


@access.allow("operator", "manager")
def withdraw(command_id: int) -> Response:
    """Take an order back, or refuse it."""
    meter_id = commands.command_of(command_id).meter_id
    attempt(lambda: commands.withdraw(command_id, access.principal(), now()), "已撤回。")
    return redirect(url_for("console.meter", meter_id=meter_id), 303)
