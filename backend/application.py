"""The Flask application: `build` puts the rooms together (backend.create_app calls it)."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

from apiflask import APIFlask
from flask_migrate import Migrate

from backend import config
from backend.base import logs, postgres, tasks, web
from backend.base.clock import Clock, SystemClock
from backend.base.db import db, engine_options, ping_idle, sqlalchemy_url
from backend.base.sealed import Seal

_ROOMS = (
    *("people", "archive", "metering", "allocation"),
    *("ledger", "billing", "cashier", "notices"),
)
MODEL_MODULES = (
    *(f"backend.{room}.models" for room in _ROOMS),
    "backend.cashier.case_models",
    "backend.cashier.acquirer_models",
    "backend.cashier.collection_models",
    "backend.cashier.voucher_models",
    "backend.cashier.papers.models",
)
# Each has `init_app(app)`; loaded by name so that a worker without web pages stays small.
WEB_MODULES = ("backend.api", "backend.console")

# The demo and the tests run without secrets of their own; production refuses to (config.load).
_DEMO_SECRET = "demo-only-secret-key-not-for-production"
_DEMO_SEAL = "ZGVtby1vbmx5LXNlYWwta2V5LTMyLWJ5dGVzLWxvbmc="


def build(
    settings: config.Settings | None = None, *, clock: Clock | None = None, web_pages: bool = True
) -> APIFlask:
    """The application over `settings` (default: the environment's).

    `clock` is what every request and task reads the time from.  Raises SettingError where a
    setting is missing or the database does not answer.
    """
    settings = settings or config.load()
    app = APIFlask(
        "backend",
        title="Nuan 暖",
        version="0.1.0",
        docs_ui="swagger-ui",
        static_folder=None,  # type: ignore[arg-type]  # APIFlask's annotation forgets None
    )
    app.config.update(_flask_config(settings))
    app.extensions["nuan_settings"] = settings
    app.extensions["nuan_clock"] = clock or SystemClock()
    app.extensions["nuan_seal"] = Seal.from_text(settings.seal_key or _DEMO_SEAL)
    for module in MODEL_MODULES:
        import_module(module)
    db.init_app(app)
    with app.app_context():
        ping_idle(db.engine)
    Migrate(app, db, directory=migrations_directory(), compare_type=True)
    tasks.bind(app)
    if web_pages:
        web.init_app(app)
        for module in WEB_MODULES:
            import_module(module).init_app(app)
    return app


def migrations_directory() -> str:
    """Where Alembic's scripts are installed."""
    return str(next(iter(import_module("migrations").__path__)))


def _flask_config(settings: config.Settings) -> dict[str, Any]:
    url = postgres.database_url(settings)
    return {
        "SECRET_KEY": settings.secret_key or _DEMO_SECRET,
        "SQLALCHEMY_DATABASE_URI": sqlalchemy_url(url),
        "SQLALCHEMY_ENGINE_OPTIONS": engine_options(settings.db_pool),
        "NUAN_DATABASE_URL": url,
        "MAX_CONTENT_LENGTH": 2 * 1024 * 1024,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.env == "production",
        "JSON_AS_ASCII": False,
        "AUTO_404_RESPONSE": False,
        "RATELIMIT_ENABLED": settings.rate_limits,
        "RATELIMIT_STORAGE_URI": settings.rate_limit_store,
        "TESTING": settings.env == "test",
    }


def from_environment(**options: Any) -> APIFlask:
    """`build` for a command: logs configured, a bad setting ends in one line, exit 2."""
    try:
        settings = config.load()
        logs.configure(settings.log_level)
        return build(settings, **options)
    except config.SettingError as error:
        logging.getLogger("nuan").debug("refused to start", exc_info=True)
        print(f"nuan: {error}", file=sys.stderr)
        raise SystemExit(2) from None
