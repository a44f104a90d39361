"""The JSON API, one file an audience, and the residents' pages built on it."""

from __future__ import annotations

from apiflask import APIFlask
from werkzeug.middleware.proxy_fix import ProxyFix

from backend.api import (
    bills,
    h5,
    openapi,
    papers,
    reader,
    resident,
    session,
    staff,
    staff_allocation,
    staff_bank,
    staff_billing,
    staff_books,
    staff_buses,
    staff_counter,
    staff_desk,
    staff_months,
    staff_papers,
    staff_seasons,
    staff_templates,
    topups,
    webhooks,
)
from backend.api.limits import limiter
from backend.archive.rules import month_day
from backend.config import SettingError, Settings
from backend.people import access

BLUEPRINTS = (
    session.bp,
    resident.bp,
    bills.bp,
    topups.bp,
    papers.bp,
    reader.bp,
    staff.bp,
    staff_allocation.bp,
    staff_bank.bp,
    staff_billing.bp,
    staff_books.bp,
    staff_buses.bp,
    staff_counter.bp,
    staff_desk.bp,
    staff_months.bp,
    staff_papers.bp,
    staff_seasons.bp,
    staff_templates.bp,
    webhooks.bp,
    h5.bp,
)


def init_app(app: APIFlask) -> None:
    """Register every route; the guard comes first, so that nothing runs before it."""
    settings = app.extensions["nuan_settings"]
    _check(settings)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    access.init_app(app)
    limiter.init_app(app)
    openapi.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)


def _check(settings: Settings) -> None:
    for name in ("season_start", "season_end"):
        try:
            month_day(getattr(settings, name))
        except ValueError:
            raise SettingError(
                f"NUAN_{name.upper()}={getattr(settings, name)!r} must be a month and a day: 10-20"
            ) from None
