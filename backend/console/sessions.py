"""Signing in to the console: a cookie session of Flask-Login over the staff table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    flash,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from backend.base.db import db
from backend.base.errors import Problem
from backend.people import access
from backend.people import service as people
from backend.people.models import Staff
from backend.people.service import Principal

ROLE_TITLES = {"reader": "抄表员", "finance": "财务", "operator": "运维", "manager": "管理"}


class SignInForm(FlaskForm):  # type: ignore[misc]
    """Login and password."""

    login = StringField("登录名", [InputRequired("请填写登录名。"), Length(max=64)])
    password = PasswordField("密码", [InputRequired("请填写密码。"), Length(max=200)])


class StaffUser(UserMixin):  # type: ignore[misc]
    """What Flask-Login keeps: the row, and an id that changes with the password."""

    def __init__(self, staff: Staff):
        self.staff = staff

    def get_id(self) -> str:
        """Id and a digest of the password's hash: a new password ends every old session."""
        digest = hashlib.sha256(self.staff.password_hash.encode()).hexdigest()[:16]
        return f"{self.staff.id}.{digest}"


def init_app(app: Flask) -> None:
    """Install Flask-Login; refusing is the guard's business (people.access), not its own."""
    manager = LoginManager(app)
    manager.session_protection = "basic"
    manager.user_loader(_load)


def register(blueprint: Blueprint) -> None:
    """The sign-in and sign-out views."""
    blueprint.add_url_rule("/sign-in", "sign_in", sign_in, methods=["GET", "POST"])
    blueprint.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])


def _load(user_id: str) -> StaffUser | None:
    number = user_id.partition(".")[0]
    staff = db.session.get(Staff, int(number)) if number.isdigit() else None
    if staff is None or not staff.active:
        return None
    user = StaffUser(staff)
    return user if user.get_id() == user_id else None


def current() -> Staff | None:
    """The member of staff who is signed in."""
    return current_user.staff if current_user.is_authenticated else None


def roles() -> frozenset[str]:
    """The roles of whoever is signed in; none where nobody is."""
    staff = current()
    return frozenset(staff.roles) if staff else frozenset()


def principal() -> Principal | None:
    """Who asks, for the guard."""
    staff = current()
    return Principal("staff", staff.id, frozenset(staff.roles)) if staff else None


def now() -> datetime:
    """The moment by the application's clock (aware, UTC)."""
    moment: datetime = current_app.extensions["nuan_clock"].now()
    return moment


@access.allow("anyone")
def sign_in() -> AnyResponse | tuple[str, int]:
    """Ask for login and password; five wrong ones in a row lock the account for a while."""
    form = SignInForm()
    target = _local(request.args.get("next", ""))
    if request.method == "GET":
        return redirect(target) if current() else (_sign_in_page(form), 200)
    if not form.validate():
        return _sign_in_page(form), 422
    try:
        staff = people.check_password(form.login.data, form.password.data, now())
    except Problem as problem:
        db.session.rollback()
        return _sign_in_page(form, problem), problem.status
    _begin_session(staff)
    return redirect(target, 303)


def _begin_session(staff: Staff) -> None:
    people.audit("staff.signed_in", "staff", staff.id, Principal("staff", staff.id), via="console")
    db.session.commit()
    session.clear()
    session.permanent = True
    login_user(StaffUser(staff))


def _sign_in_page(form: SignInForm, problem: Problem | None = None) -> str:
    return render_template("console/sign_in.html", form=form, problem=problem)


@access.allow("signed_in")
def sign_out() -> Response | AnyResponse:
    """End the session."""
    logout_user()
    session.clear()
    return redirect(url_for("console.sign_in"), 303)


def local_path() -> str:
    """The page to come back to after signing in: this one, or the one htmx asked from."""
    if request.headers.get("HX-Request"):
        here = urlsplit(request.headers.get("HX-Current-URL", ""))
        return _local(f"{here.path}?{here.query}" if here.query else here.path)
    if request.method != "GET":
        return url_for("console.home")
    return _local(request.full_path.rstrip("?"))


def _local(path: str) -> str:
    """`path` where it is a page of the console, else the console's front page."""
    if path.startswith("/console/") and "\\" not in path and not urlsplit(path).netloc:
        return path
    return url_for("console.home")


def attempt(work: Callable[[], Any], said: str | None = None) -> bool:
    """Do it and say so (without `said`: what it returned), or say why not (False).

    What is not there stays a 404.
    """
    try:
        came = work()
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        if problem.code == "not_found":
            raise
        flash(problem.detail, "bad")
        return False
    flash(came if said is None else said, "good")
    return True
