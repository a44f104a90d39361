"""Sign-in in numbers: tokens, their digests, and when an account is locked."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

# Five wrong passwords in a row lock an account; an attacker gets 480 guesses a day, not millions.
MAX_FAILED_LOGINS = 5
LOCKED_FOR = timedelta(minutes=15)
TOKEN_BYTES = 32
MAX_TOKEN_CHARS = 128

# The role a member of staff acts in where only one is shown, the most common errand first.
_SHOWN_FIRST = ("reader", "finance", "operator", "manager")


def new_token() -> str:
    """256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(text: str) -> bytes:
    """SHA-256 of a token: all that is kept, so a stolen database signs nobody in."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def locked_until(failed_logins: int, now: datetime) -> datetime | None:
    """When the account opens again after this many failures in a row; None while it is open."""
    return now + LOCKED_FOR if failed_logins >= MAX_FAILED_LOGINS else None


def shown_role(roles: Iterable[str]) -> str | None:
    """The one role to show of several; None for a member of staff who has none."""
    held = set(roles)
    return next((role for role in _SHOWN_FIRST if role in held), None)
