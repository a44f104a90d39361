"""Every route for everybody who may stand in front of it, and the right answer for each.

A route that is not in the table fails: whoever adds one says here who gets what.
"""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import pytest

from backend.base.db import db
from backend.billing import cold, requests, seasons, tariffs
from backend.cashier import (
    acquirers,
    bank_accounts,
    bank_formats,
    cases,
    collection,
    counter,
    mandates,
    shifts,
)
from backend.cashier.papers import issuing, receipts, templates, titles
from backend.metering import bus_jobs, commands, runs
from backend.people import access
from backend.people.service import Principal
from payments import bank
from payments.sandbox.bank_desk import account_file
from tests import builders
from tests.api.conftest import household_of
from tests.builders import NOON
from tests.console.conftest import post as fill_in

WHO = ("anonymous", "owner", "stranger", "reader", "finance", "operator", "manager")

# Answers in the order of WHO.
OPEN = (200,) * 7
NONE_SUCH = (404,) * 7  # open to all; the file asked for is not there
MINE = (401, 200, 404, 403, 403, 403, 403)  # the owner's; a stranger is told there is no such thing
RESIDENTS = (401, 200, 200, 403, 403, 403, 403)
READERS = (401, 403, 403, 200, 403, 403, 403)
DISPATCH = (401, 403, 403, 403, 403, 200, 200)
SIGN_IN = 302  # the console leads whoever is not signed in to its sign-in page
STOPPED = 400  # let in by role, stopped for want of a form's CSRF token
DISPATCH_PAGE = (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 200, 200)
MONEY = (401, 403, 403, 403, 200, 403, 200)
MONEY_PAGE = (SIGN_IN, SIGN_IN, SIGN_IN, 403, 200, 403, 200)
MONEY_FORM = (SIGN_IN, SIGN_IN, SIGN_IN, 403, STOPPED, 403, STOPPED)
DISPATCH_FORM = (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, STOPPED, STOPPED)
FINANCE_FORM = (SIGN_IN, SIGN_IN, SIGN_IN, 403, STOPPED, 403, 403)
FINANCE = (401, 403, 403, 403, 200, 403, 403)
NOT_SO = (401, 403, 403, 403, 409, 403, 403)
NONE_THERE = (401, 403, 403, 403, 404, 403, 403)
NUMBER = "<string(maxlength=64):out_trade_no>"
REFUND = "<string(maxlength=64):out_refund_no>"
CARD = {"bank": "ICBC_DEBIT", "number": "6222021234567890128", "holder": "王小明"}
SETTLEMENT_PAGE = (*(SIGN_IN,) * 3, 403, 200, 200, 200)
OPERATOR_FORM = (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, STOPPED, 403)
MANAGER_FORM = (*(SIGN_IN,) * 3, *(403,) * 3, STOPPED)

PAPER = "<string(maxlength=32):paper_no>"
I = "<int(max=9223372036854775807):"  # noqa: E741
BATCH = "/api/v1/staff/collection/batches/<string(maxlength=64):batch_no>"
MONTH = "/api/v1/staff/ledger/months/<month>"
TABLE: dict[tuple[str, str], tuple[int, ...]] = {
    ("GET", "/"): OPEN,
    ("GET", "/assets/<path:name>"): NONE_SUCH,
    ("GET", "/static/<path:name>"): NONE_SUCH,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/oauth2-redirect"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/api/v1/config"): OPEN,
    ("POST", "/api/v1/session/wechat"): (401,) * 7,  # the code is made up
    ("POST", "/api/v1/session/staff"): (401,) * 7,  # the password is wrong
    ("DELETE", "/api/v1/session"): (401, *(204,) * 6),
    ("GET", "/api/v1/me"): (401, 200, 200, 200, 403, 403, 403),
    ("POST", "/api/v1/me/households"): (401, 422, 422, 403, 403, 403, 403),  # no proof
    ("POST", "/api/v1/me/subscriptions"): RESIDENTS,
    ("GET", f"/api/v1/households/{I}household_id>/home"): MINE,
    ("GET", f"/api/v1/households/{I}household_id>/temperature"): MINE,
    ("GET", f"/api/v1/households/{I}household_id>/consumption"): MINE,
    ("GET", f"/api/v1/households/{I}household_id>/bills"): MINE,
    ("GET", f"/api/v1/bills/{I}bill_id>"): MINE,
    ("GET", f"/api/v1/bills/{I}bill_id>/explain"): MINE,
    ("POST", "/api/v1/orders"): (401, 201, 404, 403, 403, 403, 403),
    ("GET", "/api/v1/orders/<string(maxlength=64):out_trade_no>"): MINE,
    ("GET", f"/api/v1/households/{I}household_id>/topup"): MINE,
    ("GET", "/api/v1/staff/cases"): MONEY,
    ("GET", f"/api/v1/staff/cases/{I}case_id>"): MONEY,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/assign"): FINANCE,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/comments"): MONEY,
    # A notice has no money to move, nor is it a difference; its channel has never heard of it.
    ("POST", f"/api/v1/staff/cases/{I}case_id>/move"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/adopt"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/pair"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/repair"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/put-aside"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/take-back"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/write-off"): NOT_SO,
    ("POST", f"/api/v1/staff/cases/{I}case_id>/sign"): FINANCE,
    ("GET", "/api/v1/staff/orders"): MONEY,
    ("GET", f"/api/v1/staff/orders/{NUMBER}"): MONEY,
    # Nobody has paid that order, and there is no such refund.
    ("POST", f"/api/v1/staff/orders/{NUMBER}/refunds"): NONE_THERE,
    ("POST", f"/api/v1/staff/refunds/{REFUND}/retry"): NONE_THERE,
    ("POST", f"/api/v1/staff/refunds/{REFUND}/withdraw"): NONE_THERE,
    ("POST", f"/api/v1/staff/refunds/{REFUND}/pay-out"): NONE_THERE,
    ("POST", f"/api/v1/staff/refunds/{REFUND}/card"): NONE_THERE,
    ("POST", "/api/v1/topups"): (401, 201, 404, 403, 403, 403, 403),
    ("GET", "/api/v1/reader/today"): READERS,
    ("POST", "/api/v1/reader/readings"): (401, 403, 403, 201, 403, 403, 403),
    ("POST", "/api/v1/staff/runs"): (401, 403, 403, 403, 403, 201, 403),
    ("GET", f"/api/v1/staff/runs/{I}run_id>"): DISPATCH,
    ("POST", f"/api/v1/staff/runs/{I}run_id>/cancel"): (401, 403, 403, 403, 403, 200, 403),
    ("GET", "/api/v1/staff/anomalies"): DISPATCH,
    ("PUT", f"/api/v1/staff/meters/{I}meter_id>/plan"): (401, 403, 403, 403, 403, 204, 403),
    ("POST", f"/api/v1/staff/meters/{I}meter_id>/commands"): (401, 403, 403, 403, 403, 409, 403),
    ("GET", f"/api/v1/staff/commands/{I}command_id>"): DISPATCH,
    # The operator has asked for it himself; the manager lets it go.
    ("POST", f"/api/v1/staff/commands/{I}command_id>/approve"): (401, *(403,) * 4, 409, 200),
    ("POST", f"/api/v1/staff/commands/{I}command_id>/withdraw"): (401, *(403,) * 4, 200, 409),
    ("GET", "/api/v1/staff/tariffs"): MONEY,
    ("POST", "/api/v1/staff/tariffs"): (401, 403, 403, 403, 201, 403, 201),
    ("GET", f"/api/v1/staff/tariffs/{I}tariff_id>/preview"): (401, 403, 403, 403, 422, 403, 422),
    ("POST", f"/api/v1/staff/tariffs/{I}tariff_id>/approve"): (401, *(403,) * 5, 200),
    ("POST", f"/api/v1/staff/tariffs/{I}tariff_id>/drop"): (401, *(403,) * 3, 409, 403, 409),
    ("POST", "/api/v1/staff/rules"): (401, 403, 403, 403, 201, 403, 409),
    ("POST", f"/api/v1/staff/bills/{I}bill_id>/reversal"): (401, *(403,) * 3, 201, 403, 409),
    # There is no such run here; nobody else learns that much.
    ("POST", f"/api/v1/staff/allocation-runs/{I}allocation_run_id>/correction"): (
        *(401, 403, 403, 403),
        *(404, 403, 404),
    ),
    ("POST", f"/api/v1/staff/households/{I}household_id>/credits"): (
        *(401, 403, 403, 403),
        *(201, 403, 409),
    ),
    ("GET", f"/api/v1/households/{I}household_id>/account"): MINE,
    # The household's report is being seen to already.
    ("POST", f"/api/v1/households/{I}household_id>/cold-reports"): (401, 409, 404, *(403,) * 4),
    ("GET", f"/api/v1/households/{I}household_id>/cold-reports"): MINE,
    ("GET", "/api/v1/reader/cold-reports"): READERS,
    ("GET", "/api/v1/staff/cold-reports"): (401, 403, 403, 403, 200, 200, 200),
    ("POST", f"/api/v1/staff/cold-reports/{I}report_id>/measurement"): (
        *(401, 403, 403),
        *(422, 403, 422, 403),  # at noon nobody measures
    ),
    ("POST", f"/api/v1/staff/cold-reports/{I}report_id>/decision"): (
        *(401, 403, 403, 403),
        *(422, 403, 422),  # no rule has been set
    ),
    ("POST", f"/api/v1/staff/households/{I}household_id>/prepaid"): (
        *(401, 403, 403, 403),
        *(201, 403, 409),
    ),
    ("POST", f"/api/v1/staff/households/{I}household_id>/prepaid/transfers"): (
        *(401, 403, 403, 403),
        *(409, 403, 409),  # the balance is empty
    ),
    ("POST", f"/api/v1/staff/households/{I}household_id>/handovers"): (
        *(401, 403, 403, 403),
        *(201, 403, 409),
    ),
    ("POST", f"/api/v1/staff/handovers/{I}handover_id>/complete"): (
        *(401, 403, 403, 403),
        *(404, 403, 404),
    ),
    ("POST", f"/api/v1/staff/buildings/{I}building_id>/season"): (
        *(401, 403, 403, 403),
        *(204, 403, 204),
    ),
    ("POST", "/api/v1/staff/season-runs"): (401, *(403,) * 3, 201, 403, 201),
    # Finance stops it, and goes on; it runs again when the manager would.
    ("GET", f"/api/v1/staff/season-runs/{I}season_run_id>"): MONEY,
    ("POST", f"/api/v1/staff/season-runs/{I}season_run_id>/cancel"): (
        *(401, 403, 403, 403),
        *(200, 403, 409),
    ),
    ("POST", f"/api/v1/staff/season-runs/{I}season_run_id>/resume"): (
        *(401, 403, 403, 403),
        *(200, 403, 409),
    ),
    ("GET", "/console/seasons"): MONEY_PAGE,
    ("POST", "/console/seasons"): MONEY_FORM,
    ("GET", f"/console/seasons/{I}settlement_id>"): (*(SIGN_IN,) * 3, 403, 404, 403, 404),
    ("GET", f"/console/seasons/{I}settlement_id>/live"): (*(SIGN_IN,) * 3, 403, 404, 403, 404),
    ("POST", f"/console/seasons/{I}settlement_id>/cancel"): MONEY_FORM,
    ("POST", f"/console/seasons/{I}settlement_id>/resume"): MONEY_FORM,
    ("GET", "/api/v1/staff/requests"): MONEY,
    ("GET", "/api/v1/staff/collection/mandates"): MONEY,
    # The household has a mandate already; then it is ended.
    ("POST", "/api/v1/staff/collection/mandates"): (401, *(403,) * 3, 409, 403, 403),
    ("POST", f"/api/v1/staff/collection/mandates/{I}mandate_id>/cancel"): (
        *(401, 403, 403, 403),
        *(200, 403, 403),
    ),
    ("GET", "/api/v1/staff/collection/batches"): MONEY,
    ("POST", "/api/v1/staff/collection/batches"): (401, *(403,) * 3, 422, 403, 403),  # none due
    ("GET", f"{BATCH}"): MONEY,
    ("GET", f"{BATCH}/lines"): MONEY,
    ("GET", f"{BATCH}/file"): (401, *(403,) * 3, 404, 403, 403),  # not written yet
    ("POST", f"{BATCH}/export"): (401, *(403,) * 3, 409, 403, 403),
    ("POST", f"{BATCH}/close"): (401, *(403,) * 3, 409, 403, 403),
    # Finance has drafted it; a manager lets it go, and finance takes it back.
    ("POST", f"{BATCH}/approve"): (401, *(403,) * 3, 409, 403, 200),
    ("POST", f"{BATCH}/cancel"): (401, *(403,) * 3, 200, 403, 409),
    ("POST", "/api/v1/staff/collection/results"): (401, *(403,) * 3, 422, 403, 403),
    ("GET", MONTH): MONEY,
    ("POST", f"{MONTH}/close"): (401, *(403,) * 3, 422, 403, 403),
    # Nobody has closed it.
    ("POST", f"{MONTH}/reopen-request"): (401, *(403,) * 3, 409, 403, 409),
    ("POST", f"{MONTH}/reopen"): (401, *(403,) * 3, 409, 403, 409),
    ("GET", f"{MONTH}/vouchers"): MONEY,
    ("POST", f"{MONTH}/vouchers"): (401, *(403,) * 3, 409, 403, 403),
    ("GET", "/api/v1/staff/ledger/voucher-accounts"): MONEY,
    ("PUT", "/api/v1/staff/ledger/voucher-accounts"): FINANCE,
    ("GET", "/api/v1/staff/bank/accounts"): MONEY,
    ("GET", "/api/v1/staff/bank/statements"): MONEY,
    ("POST", "/api/v1/staff/bank/statements"): (401, *(403,) * 3, 422, 403, 403),
    ("GET", f"/api/v1/staff/bank/statements/{I}statement_id>"): MONEY,
    ("GET", f"/api/v1/staff/bank/statements/{I}statement_id>/lines"): MONEY,
    ("POST", f"/api/v1/staff/bank/statements/{I}statement_id>/match"): FINANCE,
    ("GET", "/api/v1/staff/acquirers"): MONEY,
    ("GET", "/api/v1/staff/acquirers/settlements"): MONEY,
    ("POST", "/api/v1/staff/acquirers/settlements"): (401, *(403,) * 3, 422, 403, 403),
    ("GET", f"/api/v1/staff/acquirers/settlements/{I}acquirer_settlement_id>"): MONEY,
    ("GET", f"/api/v1/staff/acquirers/settlements/{I}acquirer_settlement_id>/rows"): MONEY,
    ("GET", "/api/v1/staff/ledger/statement"): MONEY,
    ("GET", "/api/v1/staff/counter/places"): MONEY,
    ("GET", "/api/v1/staff/counter/household"): (401, *(403,) * 3, 200, 403, 403),
    # The finance clerk has a shift open, and closes it before the manager would.
    ("POST", "/api/v1/staff/counter/shifts"): (401, *(403,) * 3, 409, 403, 403),
    ("GET", "/api/v1/staff/counter/shift"): (401, *(403,) * 3, 200, 403, 403),
    ("GET", f"/api/v1/staff/counter/shifts/{I}shift_id>"): MONEY,
    ("POST", "/api/v1/staff/counter/payments"): (401, *(403,) * 3, 201, 403, 403),
    ("POST", "/api/v1/staff/counter/payments/<string(maxlength=64):receipt_no>/void"): (
        *(401, 403, 403, 403),
        *(200, 403, 403),
    ),
    ("POST", f"/api/v1/staff/counter/shifts/{I}shift_id>/close"): (
        *(401, 403, 403, 403),
        *(200, 403, 409),
    ),
    ("GET", f"/api/v1/households/{I}household_id>/papers"): MINE,
    ("GET", f"/api/v1/households/{I}household_id>/invoiceable"): MINE,
    # Nothing has been paid yet.
    ("POST", f"/api/v1/households/{I}household_id>/invoices"): (401, 409, 404, *(403,) * 4),
    ("GET", f"/api/v1/households/{I}household_id>/titles"): MINE,
    ("POST", f"/api/v1/households/{I}household_id>/titles"): (401, 201, 404, *(403,) * 4),
    ("POST", f"/api/v1/households/{I}household_id>/titles/{I}title_id>/default"): MINE,
    ("PUT", f"/api/v1/households/{I}household_id>/titles/{I}title_id>"): MINE,
    ("DELETE", f"/api/v1/households/{I}household_id>/titles/{I}title_id>"): (
        *(401, 204, 404),
        *(403,) * 4,
    ),
    # The neighbour's receipt.
    ("GET", f"/api/v1/papers/{PAPER}"): (401, 404, 404, *(403,) * 4),
    ("GET", f"/api/v1/papers/{PAPER}/pdf"): (401, 404, 404, *(403,) * 4),
    # Not paid yet.
    ("POST", "/api/v1/orders/<string(maxlength=64):out_trade_no>/receipt"): (
        *(401, 409, 404),
        *(403,) * 4,
    ),
    ("GET", "/api/v1/staff/papers"): MONEY,
    ("GET", "/api/v1/staff/paper-series"): MONEY,
    ("GET", "/api/v1/staff/paper-worklist"): MONEY,
    ("GET", f"/api/v1/staff/papers/{PAPER}"): MONEY,
    ("GET", f"/api/v1/staff/papers/{PAPER}/pdf"): MONEY,
    ("POST", f"/api/v1/staff/papers/{PAPER}/prints"): (401, *(403,) * 3, 201, 403, 201),
    ("POST", f"/api/v1/staff/papers/{PAPER}/platform"): (401, *(403,) * 3, 422, 403, 422),
    # The payment was given back above, and its receipt voided with it.
    ("POST", f"/api/v1/staff/papers/{PAPER}/red"): (401, *(403,) * 3, 409, 403, 409),
    ("POST", f"/api/v1/staff/papers/{PAPER}/void"): (401, *(403,) * 3, 409, 403, 409),
    ("GET", f"/api/v1/staff/households/{I}household_id>/invoiceable"): MONEY,
    ("POST", f"/api/v1/staff/households/{I}household_id>/invoices"): (
        *(401, 403, 403, 403),
        *(409, 403, 403),
    ),
    ("GET", f"/api/v1/staff/households/{I}household_id>/titles"): MONEY,
    ("POST", f"/api/v1/staff/households/{I}household_id>/titles"): (
        *(401, 403, 403, 403),
        *(201, 403, 403),
    ),
    ("GET", "/api/v1/staff/tax-rates"): MONEY,
    ("POST", "/api/v1/staff/tax-rates"): (401, *(403,) * 3, 409, 403, 409),  # nobody signs
    ("GET", "/api/v1/staff/paper-templates"): MONEY,
    ("POST", "/api/v1/staff/paper-templates"): (401, *(403,) * 3, 201, 403, 201),
    ("POST", "/api/v1/staff/paper-templates/preview"): MONEY,
    # Somebody has changed it since, whoever asks.
    ("PUT", f"/api/v1/staff/paper-templates/{I}template_id>"): (401, *(403,) * 3, 409, 403, 409),
    ("POST", f"/api/v1/staff/paper-templates/{I}template_id>/approve"): (401, *(403,) * 5, 409),
    ("POST", f"/api/v1/staff/paper-templates/{I}template_id>/drop"): (
        *(401, 403, 403, 403),
        *(200, 403, 409),
    ),
    # Finance has asked for it; a manager decides.
    ("POST", f"/api/v1/staff/requests/{I}request_id>/approve"): (401, *(403,) * 3, 409, 403, 200),
    ("POST", f"/api/v1/staff/requests/{I}request_id>/refuse"): (401, *(403,) * 3, 409, 403, 409),
    ("GET", "/api/v1/staff/buses"): DISPATCH,
    ("GET", f"/api/v1/staff/buses/{I}bus_id>"): DISPATCH,
    # The bus has a search under way, and no clock job yet.
    ("POST", f"/api/v1/staff/buses/{I}bus_id>/search"): (401, *(403,) * 4, 409, 403),
    ("POST", f"/api/v1/staff/buses/{I}bus_id>/clock"): (401, *(403,) * 4, 201, 403),
    # It is no concentrator.
    ("POST", f"/api/v1/staff/buses/{I}bus_id>/setup"): (401, *(403,) * 4, 422, 403),
    ("GET", "/api/v1/staff/bus-jobs"): DISPATCH,
    ("GET", f"/api/v1/staff/bus-jobs/{I}job_id>"): DISPATCH,
    ("POST", f"/api/v1/staff/bus-jobs/{I}job_id>/adopt"): (401, *(403,) * 4, 404, 403),
    ("POST", f"/api/v1/staff/bus-jobs/{I}job_id>/cancel"): (401, *(403,) * 4, 200, 403),
    ("GET", "/api/v1/staff/refused-frames"): DISPATCH,
    ("GET", f"/api/v1/staff/buildings/{I}building_id>/allocation-rules"): DISPATCH,
    # The building has a rule until further notice; it is ended after that.
    ("POST", f"/api/v1/staff/buildings/{I}building_id>/allocation-rules"): (401, *(403,) * 5, 409),
    ("POST", f"/api/v1/staff/allocation-rules/{I}rule_id>/end"): (401, *(403,) * 5, 200),
    ("POST", "/api/v1/staff/settlements"): (401, *(403,) * 4, 201, 201),
    ("GET", f"/api/v1/staff/settlements/{I}settlement_id>"): (401, *(403,) * 3, 200, 200, 200),
    ("POST", f"/api/v1/staff/settlements/{I}settlement_id>/cancel"): (401, *(403,) * 4, 200, 409),
    ("POST", f"/api/v1/staff/settlements/{I}settlement_id>/resume"): (401, *(403,) * 4, 200, 409),
    # One waits already; the manager lets it be used, and then it is decided.
    ("POST", "/api/v1/staff/calibrations"): (401, *(403,) * 4, 409, 403),
    ("GET", f"/api/v1/staff/calibrations/{I}calibration_id>"): DISPATCH,
    ("POST", f"/api/v1/staff/calibrations/{I}calibration_id>/approve"): (401, *(403,) * 5, 200),
    ("POST", f"/api/v1/staff/calibrations/{I}calibration_id>/reject"): (401, *(403,) * 4, 409, 409),
    ("POST", "/webhooks/wechatpay"): (400,) * 7,  # nobody signed it
    ("POST", "/webhooks/alipay"): (422,) * 7,  # not set up here
    ("POST", "/webhooks/unionpay"): (422,) * 7,
    ("GET", "/console/"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 302, 302, 302),
    ("GET", "/console/<path:rest>"): (SIGN_IN, SIGN_IN, SIGN_IN, 404, 404, 404, 404),
    ("GET", "/console/sign-in"): (200, 200, 200, 302, 302, 302, 302),
    ("POST", "/console/sign-in"): (STOPPED,) * 7,
    ("POST", "/console/sign-out"): (SIGN_IN, SIGN_IN, SIGN_IN, *(STOPPED,) * 4),
    ("GET", "/console/static/<path:filename>"): NONE_SUCH,
    ("GET", "/bootstrap/static/<path:filename>"): NONE_SUCH,
    ("GET", "/console/finance"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 200, 403, 200),
    ("POST", "/console/finance/<day>/close"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, STOPPED, 403, 403),
    ("POST", "/console/finance/<day>/statement"): (
        *(SIGN_IN, SIGN_IN, SIGN_IN),
        *(403, STOPPED, 403, 403),
    ),
    ("POST", "/console/finance/<day>/banks"): FINANCE_FORM,
    ("GET", "/console/months"): MONEY_PAGE,
    ("POST", "/console/months/<month>/act"): MONEY_FORM,
    ("POST", "/console/months/<month>/vouchers"): FINANCE_FORM,
    ("GET", "/console/ledger"): MONEY_PAGE,
    ("GET", "/console/vouchers"): MONEY_PAGE,
    ("POST", "/console/vouchers"): FINANCE_FORM,
    ("GET", "/console/collection"): MONEY_PAGE,
    ("POST", "/console/collection"): FINANCE_FORM,
    ("POST", "/console/collection/results"): FINANCE_FORM,
    ("GET", "/console/collection/<string(maxlength=64):batch_no>"): MONEY_PAGE,
    ("POST", "/console/collection/<string(maxlength=64):batch_no>/file"): FINANCE_FORM,
    ("POST", "/console/collection/<string(maxlength=64):batch_no>/act"): MONEY_FORM,
    ("GET", "/console/mandates"): MONEY_PAGE,
    ("POST", "/console/mandates"): FINANCE_FORM,
    ("POST", f"/console/mandates/{I}mandate_id>/cancel"): FINANCE_FORM,
    ("GET", "/console/bank"): MONEY_PAGE,
    ("POST", f"/console/bank/{I}statement_id>/match"): FINANCE_FORM,
    ("GET", f"/console/bank/settlements/{I}acquirer_settlement_id>"): MONEY_PAGE,
    ("POST", "/console/bank"): FINANCE_FORM,
    ("POST", "/console/bank/settlements"): FINANCE_FORM,
    ("GET", f"/console/bank/{I}statement_id>"): MONEY_PAGE,
    ("GET", "/console/counter"): (*(SIGN_IN,) * 3, 403, 200, 403, 403),
    ("POST", "/console/counter"): FINANCE_FORM,
    ("POST", "/console/counter/<string(maxlength=64):receipt_no>/void"): FINANCE_FORM,
    ("GET", "/console/shifts"): MONEY_PAGE,
    ("POST", "/console/shifts"): FINANCE_FORM,
    ("GET", f"/console/shifts/{I}shift_id>"): MONEY_PAGE,
    ("POST", f"/console/shifts/{I}shift_id>/close"): MONEY_FORM,
    ("GET", "/console/papers"): MONEY_PAGE,
    ("GET", "/console/papers/report"): MONEY_PAGE,
    ("GET", "/console/papers/invoice"): (*(SIGN_IN,) * 3, 403, 200, 403, 403),
    ("POST", "/console/papers/invoice"): FINANCE_FORM,
    ("POST", "/console/papers/title"): FINANCE_FORM,
    ("GET", f"/console/papers/{PAPER}"): MONEY_PAGE,
    ("GET", f"/console/papers/{PAPER}/sheet"): MONEY_PAGE,
    ("GET", f"/console/papers/{PAPER}/pdf"): MONEY_PAGE,
    ("GET", f"/console/papers/{PAPER}/prints/{I}seq>"): MONEY_PAGE,
    **{
        ("POST", f"/console/papers/{PAPER}/{verb}"): MONEY_FORM
        for verb in ("print", "void", "red", "platform")
    },
    ("GET", "/console/paper-templates"): MONEY_PAGE,
    ("POST", "/console/paper-templates/preview"): MONEY_FORM,
    ("GET", f"/console/paper-templates/{I}template_id>"): MONEY_PAGE,
    ("GET", f"/console/paper-templates/{I}template_id>/sheet"): MONEY_PAGE,
    ("POST", f"/console/paper-templates/{I}template_id>"): MONEY_FORM,
    ("POST", f"/console/paper-templates/{I}template_id>/copy"): MONEY_FORM,
    ("POST", f"/console/paper-templates/{I}template_id>/decide"): MONEY_FORM,
    ("GET", "/console/tariffs"): MONEY_PAGE,
    ("POST", "/console/tariffs"): MONEY_FORM,
    ("GET", "/console/tariffs/new"): MONEY_PAGE,
    ("POST", "/console/tariffs/form"): MONEY_FORM,
    ("POST", "/console/tariffs/try"): MONEY_FORM,
    ("GET", f"/console/tariffs/{I}tariff_id>"): MONEY_PAGE,
    ("POST", f"/console/tariffs/{I}tariff_id>/approve"): (*(SIGN_IN,) * 3, *(403,) * 3, STOPPED),
    ("POST", f"/console/tariffs/{I}tariff_id>/drop"): MONEY_FORM,
    ("GET", "/console/requests"): MONEY_PAGE,
    ("GET", "/console/allocation"): DISPATCH_PAGE,
    ("GET", f"/console/allocation/{I}building_id>"): DISPATCH_PAGE,
    ("GET", f"/console/allocation/{I}building_id>/<method>"): DISPATCH_PAGE,
    ("POST", f"/console/allocation/{I}building_id>/<method>"): MANAGER_FORM,
    ("POST", f"/console/allocation-rules/{I}rule_id>/end"): MANAGER_FORM,
    ("GET", "/console/households"): MONEY_PAGE,
    ("GET", f"/console/households/{I}household_id>"): MONEY_PAGE,
    ("POST", f"/console/households/{I}household_id>/<verb>"): MONEY_FORM,
    ("GET", f"/console/households/{I}household_id>/handover"): MONEY_PAGE,
    ("POST", f"/console/households/{I}household_id>/handover"): MONEY_FORM,
    ("POST", f"/console/handovers/{I}handover_id>/complete"): MONEY_FORM,
    ("POST", f"/console/bills/{I}bill_id>/reverse"): MONEY_FORM,
    ("POST", f"/console/allocation-runs/{I}run_id>/correct"): MONEY_FORM,
    ("GET", "/console/rules"): MONEY_PAGE,
    ("GET", "/console/rules/<topic>/new"): MONEY_PAGE,
    ("POST", "/console/rules/<topic>"): MONEY_FORM,
    ("GET", "/console/cold"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 200, 200, 200),
    ("POST", f"/console/cold/{I}report_id>/measure"): OPERATOR_FORM,
    ("POST", f"/console/cold/{I}report_id>/decide"): MONEY_FORM,
    ("POST", f"/console/requests/{I}request_id>/decide"): MONEY_FORM,
    ("GET", "/console/settlements"): SETTLEMENT_PAGE,
    ("POST", "/console/settlements"): DISPATCH_FORM,
    ("GET", f"/console/settlements/{I}settlement_id>"): SETTLEMENT_PAGE,
    ("GET", f"/console/settlements/{I}settlement_id>/live"): SETTLEMENT_PAGE,
    ("POST", f"/console/settlements/{I}settlement_id>/cancel"): DISPATCH_FORM,
    ("POST", f"/console/settlements/{I}settlement_id>/resume"): DISPATCH_FORM,
    ("GET", "/console/calibrations"): DISPATCH_PAGE,
    ("POST", "/console/calibrations"): OPERATOR_FORM,
    ("GET", f"/console/calibrations/{I}calibration_id>"): DISPATCH_PAGE,
    ("POST", f"/console/calibrations/{I}calibration_id>/approve"): (
        *(SIGN_IN,) * 3,
        *(403,) * 3,
        STOPPED,
    ),
    ("POST", f"/console/calibrations/{I}calibration_id>/reject"): DISPATCH_FORM,
    ("GET", "/console/cases"): MONEY_PAGE,
    ("GET", f"/console/cases/{I}case_id>"): MONEY_PAGE,
    ("POST", f"/console/cases/{I}case_id>"): FINANCE_FORM,
    ("GET", "/console/orders"): MONEY_PAGE,
    ("GET", f"/console/orders/{NUMBER}"): MONEY_PAGE,
    ("POST", f"/console/orders/{NUMBER}/refund"): FINANCE_FORM,
    ("GET", "/console/reading"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 200, 200),
    ("GET", "/console/reading/live"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 200, 200),
    ("GET", "/console/anomalies"): DISPATCH_PAGE,
    ("GET", "/console/runs"): DISPATCH_PAGE,
    ("POST", "/console/runs"): OPERATOR_FORM,
    ("GET", f"/console/runs/{I}run_id>"): DISPATCH_PAGE,
    ("GET", f"/console/runs/{I}run_id>/live"): DISPATCH_PAGE,
    ("POST", f"/console/runs/{I}run_id>/cancel"): OPERATOR_FORM,
    ("GET", "/console/meters"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 404, 404),
    ("GET", f"/console/meters/{I}meter_id>"): DISPATCH_PAGE,
    ("POST", f"/console/meters/{I}meter_id>/plan"): OPERATOR_FORM,
    ("POST", f"/console/meters/{I}meter_id>/supply"): OPERATOR_FORM,
    ("POST", f"/console/commands/{I}command_id>/approve"): DISPATCH_FORM,
    ("POST", f"/console/commands/{I}command_id>/withdraw"): DISPATCH_FORM,
    ("GET", "/console/buses"): DISPATCH_PAGE,
    ("GET", "/console/buses/live"): DISPATCH_PAGE,
    ("GET", f"/console/buses/{I}bus_id>"): DISPATCH_PAGE,
    ("POST", f"/console/buses/{I}bus_id>/search"): OPERATOR_FORM,
    ("POST", f"/console/buses/{I}bus_id>/clock"): OPERATOR_FORM,
    ("POST", f"/console/buses/{I}bus_id>/setup"): OPERATOR_FORM,
    ("GET", "/console/bus-jobs"): DISPATCH_PAGE,
    ("GET", f"/console/bus-jobs/{I}job_id>"): DISPATCH_PAGE,
    ("GET", f"/console/bus-jobs/{I}job_id>/live"): DISPATCH_PAGE,
    ("POST", f"/console/bus-jobs/{I}job_id>/cancel"): OPERATOR_FORM,
    ("POST", f"/console/bus-jobs/{I}job_id>/adopt"): OPERATOR_FORM,
    ("GET", "/console/refused"): DISPATCH_PAGE,
    ("GET", "/console/import"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 200, 403),
    ("POST", "/console/import"): OPERATOR_FORM,
    ("GET", "/console/round"): (SIGN_IN, SIGN_IN, SIGN_IN, 403, 403, 404, 404),  # of nothing
    # Last, because the owner's household is bound no more after it.
    ("DELETE", f"/api/v1/me/households/{I}household_id>"): (401, 204, 404, 403, 403, 403, 403),
}

DAYS = "?day_from=2026-11-01&day_to=2026-11-02"
QUERIES = {
    "statement": f"{DAYS}&code=revenue:heat",
    "household": "?account_no=A-909",
    "tariffs": "?utility=water",
    "preview": DAYS,
    "temperature": DAYS,
    "consumption": DAYS,
}


@pytest.fixture
def town(merchant):
    """A household with a bill, an order and a meter, and somebody of every kind."""
    owner = household_of("alice")
    bill = builders.make_bill(owner.household, 12345)
    other = builders.make_bill(owner.household, 500, utility="water")
    meter = builders.make_meter(owner.building, owner.household, kind="gas")
    people = {"owner": owner.resident, "stranger": builders.make_resident("charlie")}
    for role in ("reader", "finance", "operator", "manager"):
        people[role] = builders.make_staff(role, roles=[role])
    ordered = merchant.test_client().post(
        "/api/v1/orders",
        json={"bill_ids": [other.id]},
        headers={**owner.headers, "Idempotency-Key": "key-of-the-town"},
    )
    operator = Principal("staff", people["operator"].id)
    run = runs.start("meter", [meter.id], operator, builders.NOON)
    command = commands.ask(meter.id, "close", "欠费", operator, builders.NOON)
    search = {"protocol": "cjt188", "how": "wildcard"}
    job = bus_jobs.ask(meter.bus_id, "search", search, operator, builders.NOON)
    db.session.commit()
    clerk = Principal("staff", people["finance"].id)
    price = tariffs.draft(clerk, builders.NOON, **_price(1))
    neighbour = builders.make_household(owner.building, "909")
    report = cold.report(owner.household.id, "主卧", "", None, builders.NOON)
    request = requests.ask_credit(neighbour.id, "heat", 100, "更正", clerk, builders.NOON)
    db.session.commit()
    rule, settlement, calibration = builders.make_allocation(
        owner.household, people["operator"], builders.NOON
    )
    builders.make_meter(owner.building, kind="heat")
    first, last = date(2026, 11, 1), date(2026, 11, 15)
    season_run = seasons.start("advance", None, first, last, None, clerk, NOON)
    drawer = shifts.add_drawer("D1", "一号台")
    shift = shifts.open_shift(clerk, drawer.id, {}, builders.NOON)
    small = builders.make_bill(neighbour, 300)
    bought = counter.Taking(neighbour.id, (small.id,), 0, 300, counter.Tender("cash", 300))
    taken = counter.take(clerk, "tap-of-the-town", bought, builders.NOON)
    sheet = templates.draft("receipt", "a5", "新版", "<p>x</p>", date(2027, 1, 1), clerk, NOON)
    given = {"name": "样张公司", "tax_id": "91110108551385082Q"}
    party = titles.checked("company", given)
    title = titles.add(owner.household.id, party, False, clerk, NOON)
    db.session.commit()
    names = {
        **_collecting(neighbour, clerk),
        "paper_no": issuing.known(receipts.counter_key(taken.receipt_no)).paper_no,
        "template_id": sheet.id,
        "seq": 1,  # the API prints it above
        "title_id": title.id,
        "shift_id": shift.id,
        "receipt_no": taken.receipt_no,
        "neighbour_id": neighbour.id,
        "building_id": owner.building.id,
        "allocation_run_id": 77,
        "rule_id": rule.id,
        "settlement_id": settlement.id,
        "season_run_id": season_run.id,
        "calibration_id": calibration.id,
        "tariff_id": price.id,
        "report_id": report.id,
        "handover_id": 999_999,
        "request_id": request.id,
        "bus_id": meter.bus_id,
        "job_id": job.id,
        "run_id": run.id,
        "meter_id": meter.id,
        "command_id": command.id,
        "household_id": owner.household.id,
        "bill_id": bill.id,
        "case_id": _case(),
        "out_refund_no": "R-NO-SUCH-REFUND",
        "out_trade_no": ordered.json["order"]["out_trade_no"],
        "day": "2026-11-19",
        "topic": "late_fee",
        "verb": "credit",
        "method": "area",
        **dict.fromkeys(("name", "filename", "rest"), "nothing-of-that-name"),
    }
    return SimpleNamespace(app=merchant, people=people, names=names, bill=bill, meter=meter)


def _collecting(household, clerk):
    """A mandate, a drafted batch over a bill of its household, an account's empty day."""
    day = builders.NOON.date()
    mandates.add_bank("icbc", "工行", "collection-fixed", "M1")
    agreed = mandates.Agreement(household.account_no, "icbc", "C1", "李四", "62220001", day)
    mandate = mandates.sign(agreed, clerk, builders.NOON)
    builders.make_bill(household, 4000, utility="gas")
    batch = collection.draft("icbc", day, collection.Choice(date.max), clerk, builders.NOON)
    bank_accounts.add_account("main", "基本户", "6222", "account-csv", day)
    layout = bank_formats.layouts("account")["account-csv"]
    data = account_file(layout, "6222", day, [])
    movements, _ = bank_accounts.take("main", "x.csv", data, clerk, builders.NOON)
    acquirers.add("ylsw", "银联商务", "acquirer-csv", day)
    sheet = bank_formats.sheet("acquirer-csv", "acquirer", "settlement")
    settled = bank.write(sheet, {"settlement_no": "S1", "day": day}, [])
    settlement, _ = acquirers.take("ylsw", "x.csv", settled, clerk, builders.NOON)
    db.session.commit()
    return {
        "acquirer_settlement_id": settlement.id,
        "mandate_id": mandate.id,
        "batch_no": batch.batch_no,
        "statement_id": movements.id,
        "month": "2026-10",
    }


def _case():
    """A notice of an order nobody has heard of."""
    day = builders.NOON.date()
    cases.open_case("notice", "unknown_order", "wechat:1", "wechat", day, builders.NOON)
    db.session.commit()
    return cases.found("notice", "wechat:1").id


def _price(day):
    return {
        "name": "居民气价",
        "utility": "gas",
        "customer_class": "residential",
        "kind": "flat",
        "params": {"unit": "m3", "price": "2.80"},
        "effective_from": date(2027, 1, day),
    }


def _money(names):
    """Bodies of the routes about one household's money."""
    staff, home = "/api/v1/staff", f"/api/v1/staff/households/{names['household_id']}"
    report = f"{staff}/cold-reports/{names['report_id']}"
    days = {"day_from": "2026-11-01", "day_to": "2026-11-02"}
    return {
        f"/api/v1/households/{names['household_id']}/cold-reports": {"room": "主卧"},
        f"{report}/measurement": {
            "measured_at": "2026-11-20T04:00:00Z",
            "measured_cdeg": 1500,
            "resident_signature": "张三",
            "staff_signature": "王师傅",
        },
        f"{report}/decision": {"source": "series", **days},
        f"{home}/prepaid": {"utility": "gas", "first_day": "2026-11-01"},
        f"{home}/prepaid/transfers": {"utility": "gas", "amount_fen": 1, "key": "key-of-it"},
        f"{home}/handovers": {"moved_on": "2026-11-01"},
        f"{staff}/handovers/{names['handover_id']}/complete": {"name": "李四", "phone": "13900"},
        f"{staff}/buildings/{names['building_id']}/season": {"verb": "settle", **days},
        f"{staff}/season-runs": {"verb": "advance", **days},
    }


def _books(names):
    """Bodies of the routes about collection and months."""
    staff = "/api/v1/staff"
    batch, why = f"{staff}/collection/batches/{names['batch_no']}", {"reason": "住户要求"}
    month = f"{staff}/ledger/months/{names['month']}"
    mandate = {"account_no": "A-909", "bank": "icbc", "contract_no": "C2", "holder": "李四"}
    return {
        f"{staff}/collection/mandates": {
            **mandate,
            "card_no": "622200001",
            "valid_from": "2026-11-20",
        },
        f"{staff}/collection/mandates/{names['mandate_id']}/cancel": why,
        f"{staff}/collection/batches": {
            "bank": "icbc",
            "day": "2026-11-20",
            "due_by": "2027-11-20",
        },
        f"{batch}/close": why,
        f"{batch}/cancel": why,
        f"{staff}/collection/results": {"bank": "icbc", "name": "x", "file": "AAAA"},
        f"{month}/close": {"reason": "还没有账"},
        f"{month}/reopen-request": {"reason": "漏记一笔"},
        f"{month}/vouchers": {"format": "generic-csv"},
        f"{staff}/ledger/voucher-accounts": {
            "prefix": "bank:",
            "erp_code": "1002",
            "erp_name": "银行存款",
        },
        f"{staff}/bank/statements": {"account": "main", "name": "x", "file": "AAAA"},
        f"{staff}/acquirers/settlements": {"acquirer": "ylsw", "name": "x", "file": "AAAA"},
    }


def _papers(names):
    """Bodies of the routes about receipts, invoices, titles and templates."""
    mine = f"/api/v1/households/{names['household_id']}"
    staff = f"/api/v1/staff/households/{names['household_id']}"
    paper = f"/api/v1/staff/papers/{names['paper_no']}"
    template = f"/api/v1/staff/paper-templates/{names['template_id']}"
    invoice, title = {"bill_ids": [names["bill_id"]]}, {"kind": "person", "name": "张三"}
    source = {"kind": "receipt", "size": "a5", "source": "<p>{{ paper.no }}</p>"}
    edited = {"name": "新版", "source": "<p></p>", "effective_from": "2027-01-01"}
    return {
        f"{mine}/invoices": invoice,
        f"{mine}/titles": title,
        # As it is, so that it keeps its id.
        f"{mine}/titles/{names['title_id']}": {
            "kind": "company",
            "name": "样张公司",
            "tax_id": "91110108551385082Q",
        },
        f"{staff}/invoices": invoice,
        f"{staff}/titles": title,
        f"{paper}/prints": {"size": "pin"},
        f"{paper}/platform": {"platform_no": "24112000000012345678"},
        f"{paper}/red": {"reason": "多收"},
        f"{paper}/void": {"reason": "开错"},
        "/api/v1/staff/tax-rates": {
            "utility": "water",
            "customer_class": "residential",
            "treatment": "taxed",
            "rate_bp": 300,
            "effective_from": "2027-01-01",
            "basis": "简易计税",
        },
        "/api/v1/staff/paper-templates": {**source, "name": "新版", "effective_from": "2027-01-01"},
        "/api/v1/staff/paper-templates/preview": source,
        template: {**edited, "seen": "0" * 16},
        f"{template}/approve": {"seen": "0" * 16},
    }


def body_of(town, path):
    """A body that would be accepted of somebody who may, and refused for its content at worst."""
    bodies = {
        "/api/v1/session/wechat": {"code": "made-up", "via": "mini_program"},
        "/api/v1/session/staff": {"login": "nobody", "password": "wrong"},
        "/api/v1/me/households": {
            "account_no": "A-101",
            "owner_name": "李四",
            "phone_last4": "0000",
        },
        "/api/v1/me/subscriptions": {"template": "nuan-bill-overdue", "accepted": True},
        "/api/v1/orders": {"bill_ids": [town.bill.id]},
        **_desk_bodies(town),
        "/api/v1/topups": {"household_id": town.names["household_id"], "amount_fen": 5000},
        "/api/v1/staff/runs": {"scope": "building", "ids": [town.meter.building_id]},
        f"/api/v1/staff/meters/{town.meter.id}/plan": {"plan": "daily"},
        f"/api/v1/staff/meters/{town.meter.id}/commands": {"action": "open", "reason": "已缴费"},
        "/api/v1/staff/tariffs": {**_price(3), "effective_from": "2027-01-03"},
        "/api/v1/staff/rules": {
            "topic": "cycle",
            "utility": "heat",
            "params": {"settle_day": 5},
            "effective_from": "2026-12-01",
            "reason": "按月五日结算",
        },
        "/api/v1/staff/allocation-runs/77/correction": {"reason": "热量有误"},
        f"/api/v1/staff/bills/{town.bill.id}/reversal": {"reason": "面积有误"},
        f"/api/v1/staff/households/{town.names['household_id']}/credits": {
            "utility": "heat",
            "credit_fen": 100,
            "reason": "更正",
        },
        **_money(town.names),
        **{
            f"/api/v1/staff/requests/{town.names['request_id']}/{verb}": {"note": ""}
            for verb in ("approve", "refuse")
        },
        f"/api/v1/staff/buses/{town.names['bus_id']}/search": {
            "protocol": "cjt188",
            "how": "wildcard",
        },
        f"/api/v1/staff/buildings/{town.meter.building_id}/allocation-rules": {
            "method": "area",
            "effective_from": "2027-01-01",
        },
        f"/api/v1/staff/allocation-rules/{town.names['rule_id']}/end": {"day": "2027-05-01"},
        **_papers(town.names),
        **_books(town.names),
        "/api/v1/staff/counter/shifts": {"drawer_id": 1, "counts": {}},
        "/api/v1/staff/counter/payments": {
            "household_id": town.names["neighbour_id"],
            "topup_fen": 700,
            "amount_fen": 700,
            "method": "cash",
            "tendered_fen": 1000,
        },
        f"/api/v1/staff/counter/payments/{town.names['receipt_no']}/void": {"reason": "收错户"},
        f"/api/v1/staff/counter/shifts/{town.names['shift_id']}/close": {
            "counts": {"500": 1, "100": 2},
            "reason": "清点",
        },
        "/api/v1/staff/settlements": {"period_from": "2026-11-01", "period_to": "2026-11-15"},
        "/api/v1/staff/calibrations": {
            "building_id": town.meter.building_id,
            "window_from": "2026-10-21",
            "window_to": "2026-11-20",
        },
        f"/api/v1/staff/calibrations/{town.names['calibration_id']}/approve": {
            "effective_from": "2026-11-20"
        },
        f"/api/v1/staff/buses/{town.names['bus_id']}/clock": {"action": "read"},
        f"/api/v1/staff/buses/{town.names['bus_id']}/setup": {"action": "read_back"},
        f"/api/v1/staff/bus-jobs/{town.names['job_id']}/adopt": {
            "address": "20010100000101",
            "kind": "room",
        },
        "/api/v1/reader/readings": {
            "client_id": "6f2c1a34-6c0e-4b8e-9a58-1d1f3f0f1a11",
            "meter_id": town.meter.id,
            "register": 1000,
            "read_at": "2026-11-20T03:30:00Z",
        },
    }
    return bodies.get(path)


def _desk_bodies(town):
    one = f"/api/v1/staff/cases/{town.names['case_id']}"
    refund = f"/api/v1/staff/refunds/{town.names['out_refund_no']}"
    why = {"text": "核实"}
    return {
        f"{one}/assign": {"owner_id": None},
        **{f"{one}/{verb}": why for verb in ("comments", "put-aside", "take-back", "write-off")},
        f"{one}/sign": why,
        f"{one}/move": {**why, "account_no": "A-101", "amount_fen": 1},
        f"/api/v1/staff/orders/{town.names['out_trade_no']}/refunds": {
            "amount_fen": 1,
            "reason": "退款",
        },
        f"{refund}/withdraw": why,
        f"{refund}/pay-out": {**why, "document": "HX-1"},
        f"{refund}/card": {**why, **CARD},
    }


def url_of(rule, names):
    """The rule with its parameters filled in."""
    pieces = rule.replace(">", "<").split("<")
    path = "".join(p if i % 2 == 0 else str(names[p.split(":")[-1]]) for i, p in enumerate(pieces))
    return path + QUERIES.get(path.rsplit("/", 1)[-1], "")


def ask(town, who, method, rule):
    """The answer to somebody: staff bring their cookie to the console, and tokens elsewhere.

    In a context of its own, because Flask-Login keeps who is signed in for as long as one lasts.
    """
    with town.app.app_context():
        return _ask(town, who, method, rule)


def _ask(town, who, method, rule):
    client = town.app.test_client()
    person = town.people.get(who)
    if rule.startswith("/console") and who in ("reader", "finance", "operator", "manager"):
        fill_in(client, "/console/sign-in", login=who, password="correct horse")
        headers = {}
    else:
        headers = builders.headers_for(person) if person else {}
    plain = "".join(c for c in rule if c.isalnum())[-40:]
    headers["Idempotency-Key"] = f"matrix-{who}-{plain}"
    path = url_of(rule, town.names)
    return client.open(
        path, method=method, json=body_of(town, path.partition("?")[0]), headers=headers
    )


def routes(app):
    """(method, rule) of everything the application answers."""
    return {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def test_the_table_knows_every_route_and_no_other(app):
    assert routes(app) == set(TABLE)
    assert access.undeclared(app) == []


def test_everybody_gets_the_right_answer_everywhere(town):
    wrong = []
    for (method, rule), answers in TABLE.items():
        for who, expected in zip(WHO, answers, strict=True):
            status = ask(town, who, method, rule).status_code
            if status != expected:
                wrong.append(f"{method} {rule} as {who}: {status}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_a_consoles_cookie_opens_no_api(town):
    client = town.app.test_client()
    fill_in(client, "/console/sign-in", login="reader", password="correct horse")
    assert client.get("/api/v1/reader/today").status_code == 401


def test_a_token_opens_no_console(town):
    headers = builders.headers_for(town.people["finance"])
    answer = town.app.test_client().get("/console/finance", headers=headers)
    assert answer.status_code == SIGN_IN
