"""The templates papers are printed by: drafts, previews, and a second person who approves."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_papers import (
    SeenIn,
    SpecimenOut,
    TemplateEditIn,
    TemplateIn,
    TemplateOut,
    TemplateSourceIn,
    TemplatesOut,
)
from backend.base.db import db
from backend.cashier.papers import specimens, templates
from backend.cashier.papers.models import PaperTemplate
from backend.people.access import allow, principal

bp = APIBlueprint("staff_templates", __name__, url_prefix="/api/v1/staff", tag="票据")
_SHOWN = ("id", "kind", "size", "version", "name", "source", "state", "effective_from")


def _view(row: PaperTemplate) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in _SHOWN}
    return {**shown, "fingerprint": templates.fingerprint(row)}


@bp.get("/paper-templates")
@bp.output(TemplatesOut)
@allow("finance", "manager")
def versions() -> dict[str, Any]:
    """Every version of every template."""
    found = templates.versions()
    db.session.commit()  # those that come with Nuan are stored when first looked at
    return {"templates": [_view(row) for row in found]}


@bp.post("/paper-templates")
@bp.input(TemplateIn, arg_name="body")
@bp.output(TemplateOut, status_code=201)
@allow("finance", "manager")
def draft(body: dict[str, Any]) -> dict[str, Any]:
    """A new version, as a draft."""
    made = templates.draft(**body, actor=principal(), now=answers.now())
    db.session.commit()
    return _view(made)


@bp.post("/paper-templates/preview")
@bp.input(TemplateSourceIn, arg_name="body")
@bp.output(SpecimenOut)
@bp.doc(responses=[503])
@allow("finance", "manager")
def preview(body: dict[str, Any]) -> dict[str, Any]:
    """A specimen printed by a text; template_invalid names the line of what is wrong."""
    pages = specimens.proof(**body).pages
    return {"html": specimens.preview(**body).document.decode(), "pages": pages}


@bp.put(f"/paper-templates/<{ID}:template_id>")
@bp.input(TemplateEditIn, arg_name="body")
@bp.output(TemplateOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def edit(template_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Change a draft."""
    made = templates.edit(template_id, **body, actor=principal(), now=answers.now())
    db.session.commit()
    return _view(made)


@bp.post(f"/paper-templates/<{ID}:template_id>/approve")
@bp.input(SeenIn, arg_name="body")
@bp.output(TemplateOut)
@bp.doc(responses=[404, 409, 503])
@allow("manager")
def approve(template_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """Put a draft of a colleague into use from its day on; it must print a specimen."""
    specimens.prove_template(template_id)
    made = templates.approve(template_id, body["seen"], principal(), answers.now())
    db.session.commit()
    return _view(made)


@bp.post(f"/paper-templates/<{ID}:template_id>/drop")
@bp.output(TemplateOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def drop(template_id: int) -> dict[str, Any]:
    """Give a draft up."""
    made = templates.drop(template_id, principal(), answers.now())
    db.session.commit()
    return _view(made)
