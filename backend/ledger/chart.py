"""The chart of accounts: codes carry whose they are, so a balance can be asked for by name."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {
    "receivable": "asset",
    "clearing": "asset",
    "bank": "asset",
    "cash": "asset",
    "pos": "asset",
    "wallet": "liability",
    "prepaid": "liability",
    "payable": "liability",
    "suspense": "liability",
    "overage": "liability",
    "shortage": "asset",
    "revenue": "income",
    "fee": "expense",
    "over_short": "expense",
}


@dataclass(frozen=True, slots=True, order=True)
class AccountRef:
    """An account by code; `kind` is its side of the balance sheet."""

    code: str
    kind: str
    household_id: int | None = None


def _account(family: str, *parts: object, household_id: int | None = None) -> AccountRef:
    return AccountRef(":".join(map(str, (family, *parts))), KINDS[family], household_id)


def receivable(utility: str, household_id: int) -> AccountRef:
    """What a household owes for one utility (asset)."""
    return _account("receivable", utility, household_id, household_id=household_id)


def wallet(household_id: int) -> AccountRef:
    """What we hold for a household: a liability until it is used up or given back."""
    return _account("wallet", household_id, household_id=household_id)


def prepaid(utility: str, household_id: int) -> AccountRef:
    """What a household has paid ahead for one utility: a liability, or an overdraft."""
    return _account("prepaid", utility, household_id, household_id=household_id)


def payable(what: str, number: int) -> AccountRef:
    """What we still have to pay out to somebody who left (liability)."""
    return _account("payable", what, number)


def clearing(channel: str) -> AccountRef:
    """Money a payment channel holds for us until it reaches the bank (asset)."""
    return _account("clearing", channel)


def suspense(channel: str) -> AccountRef:
    """Money that arrived and may belong to somebody else: to be refunded or explained."""
    return _account("suspense", channel)


def overage(channel: str) -> AccountRef:
    """长款: what a channel has paid us more than anybody can explain (liability)."""
    return _account("overage", channel)


def shortage(channel: str) -> AccountRef:
    """短款: what we count on and a channel has not (asset)."""
    return _account("shortage", channel)


def revenue(utility: str) -> AccountRef:
    """What has been billed for a utility (income)."""
    return _account("revenue", utility)


def fee(channel: str) -> AccountRef:
    """What a channel keeps for its service (expense)."""
    return _account("fee", channel)


def bank(name: str) -> AccountRef:
    """A bank account (asset)."""
    return _account("bank", name)


def cash(drawer: str) -> AccountRef:
    """The notes and coins in a drawer (asset)."""
    return _account("cash", drawer)


def pos(terminal: str) -> AccountRef:
    """What a card terminal took and its bank has not paid out yet (asset)."""
    return _account("pos", terminal)


def over_short(drawer: str) -> AccountRef:
    """What a drawer's counts were short (debit) or over (credit): an expense, or less of one."""
    return _account("over_short", drawer)
