"""What every `nuan` command stands on: the application of the environment, left tidily."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from apiflask import APIFlask

from backend import app_from_environment
from backend.base.db import db
from backend.base.errors import Problem


@contextmanager
def application() -> Iterator[APIFlask]:
    """The application without web pages, inside its context, its connections closed afterwards.

    A Problem ends the command in one line, exit 1.
    """
    app = app_from_environment(web_pages=False)
    with app.app_context():
        try:
            yield app
        except Problem as problem:
            raise click.ClickException(f"{problem.detail} ({problem.code})") from None
        finally:
            db.session.remove()
            db.engine.dispose()
