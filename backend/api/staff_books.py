"""Bank collection for programs: mandates, batches, results."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_books import (
    BatchesOut,
    BatchOut,
    DraftIn,
    LinesIn,
    LinesOut,
    MandateIn,
    MandateOut,
    MandatesIn,
    MandatesOut,
    OptionalReasonIn,
    ResultIn,
    ResultOut,
)
from backend.base.db import db
from backend.cashier import (
    collection,
    collection_end,
    collection_export,
    collection_results,
    collection_views,
    mandates,
)
from backend.people.access import allow, principal

bp = APIBlueprint("staff_books", __name__, url_prefix="/api/v1/staff", tag="账务")
NO = "string(maxlength=64)"
BATCH = f"/collection/batches/<{NO}:batch_no>"


@bp.get("/collection/mandates")
@bp.input(MandatesIn, location="query", arg_name="query")
@bp.output(MandatesOut)
@allow("finance", "manager")
def mandate_list(query: dict[str, Any]) -> dict[str, Any]:
    """Mandates, newest first, masked."""
    return {"items": mandates.listed(query["account_no"], query["before"])}


@bp.post("/collection/mandates")
@bp.input(MandateIn, arg_name="body")
@bp.output(MandateOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance")
def sign(body: dict[str, Any]) -> dict[str, Any]:
    """Sign a household up; its card is sealed."""
    made = mandates.sign(mandates.Agreement(**body), principal(), answers.now())
    db.session.commit()
    return mandates.view(made.id)


@bp.post(f"/collection/mandates/<{ID}:mandate_id>/cancel")
@bp.input(OptionalReasonIn, arg_name="body")
@bp.output(MandateOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def unsign(mandate_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """End a mandate."""
    mandates.cancel(mandate_id, body["reason"], principal(), answers.now())
    db.session.commit()
    return mandates.view(mandate_id)


@bp.get("/collection/batches")
@bp.output(BatchesOut)
@allow("finance", "manager")
def batch_list() -> dict[str, Any]:
    """The newest batches."""
    return {"items": collection_views.batches()}


@bp.post("/collection/batches")
@bp.input(DraftIn, arg_name="body")
@bp.output(BatchOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance")
def draft(body: dict[str, Any]) -> dict[str, Any]:
    """Draft a batch over what is due."""
    bank, day = body.pop("bank"), body.pop("day")
    made = collection.draft(bank, day, collection.Choice(**body), principal(), answers.now())
    db.session.commit()
    return collection_views.batch(made.batch_no)


@bp.get(BATCH)
@bp.output(BatchOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def batch(batch_no: str) -> dict[str, Any]:
    """A batch."""
    return collection_views.batch(batch_no)


@bp.get(f"{BATCH}/lines")
@bp.input(LinesIn, location="query", arg_name="query")
@bp.output(LinesOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def lines(batch_no: str, query: dict[str, Any]) -> dict[str, Any]:
    """A page of a batch's lines."""
    found = collection_views.batch(batch_no)
    return {"items": collection_views.lines(found["id"], query["after"], query["state"])}


@bp.post(f"{BATCH}/approve")
@bp.output(BatchOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def approve(batch_no: str) -> dict[str, Any]:
    """Let a batch go that another person drafted."""
    collection.approve(batch_no, principal(), answers.now())
    db.session.commit()
    return collection_views.batch(batch_no)


@bp.post(f"{BATCH}/export")
@bp.output(BatchOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def export(batch_no: str) -> dict[str, Any]:
    """Write a batch's file, once; asked again it is the one already written."""
    collection_export.export(batch_no, principal(), answers.now())
    return collection_views.batch(batch_no)


@bp.get(f"{BATCH}/file")
@bp.doc(responses=[404])
@allow("finance")
def file(batch_no: str) -> Response:
    """The file for the bank, with full card numbers; audited."""
    name, data = collection_export.file_of(batch_no, principal(), answers.now())
    db.session.commit()
    headers = {"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "no-store"}
    return Response(data, mimetype="application/octet-stream", headers=headers)


@bp.post(f"{BATCH}/cancel")
@bp.input(OptionalReasonIn, arg_name="body")
@bp.output(BatchOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def cancel(batch_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Take a batch back; one whose file was written, by another person than its writer."""
    collection_end.cancel(batch_no, body["reason"], principal(), answers.now())
    db.session.commit()
    return collection_views.batch(batch_no)


@bp.post(f"{BATCH}/close")
@bp.input(OptionalReasonIn, arg_name="body")
@bp.output(BatchOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def close(batch_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """End a batch; lines the bank has not decided want a reason."""
    collection_end.close(batch_no, body["reason"], principal(), answers.now())
    db.session.commit()
    return collection_views.batch(batch_no)


@bp.post("/collection/results")
@bp.input(ResultIn, arg_name="body")
@bp.output(ResultOut)
@bp.doc(responses=[404])
@allow("finance")
def result(body: dict[str, Any]) -> dict[str, Any]:
    """Take a bank's result in, whole or not at all; the same file again is the one taken."""
    made, new = collection_results.take(
        body["bank"], body["name"], body["file"], principal(), answers.now()
    )
    return {**collection_views.result(made.id), "new": new}
