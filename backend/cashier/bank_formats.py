"""In which formats banks and acquirers speak: those that come with Nuan, and the company's own."""

from __future__ import annotations

from flask import current_app

from backend.base.errors import Problem
from payments.flat_format import Format, Sheet, formats


def layouts(kind: str) -> dict[str, Format]:
    """The formats there are for a kind of file, the company's own among them."""
    directory: str = current_app.extensions["nuan_settings"].bank_formats_dir
    return {name: one for name, one in formats(directory).items() if one.kind == kind}


def sheet(name: str, kind: str, which: str) -> Sheet:
    """One sort of file of a named format; Problem not_found where it is no longer there."""
    found = layouts(kind).get(name)
    if found is None:
        raise Problem("not_found", f"没有文件格式 {name}。", field="format")
    return found.sheets[which]
