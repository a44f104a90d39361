"""What a button does: done and said, or refused and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import flash

from backend.base.db import db
from backend.base.errors import Problem


def attempt(work: Callable[[], Any], said: str) -> bool:
    """Do it, commit and say so, or say why not; what is not there stays a 404."""
    try:
        work()
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        if problem.code == "not_found":
            raise
        flash(problem.detail, "bad")
        return False
    flash(said, "good")
    return True
