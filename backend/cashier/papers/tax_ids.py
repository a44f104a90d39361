"""纳税人识别号: is a tax id one that can exist, by its own check digit."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # GB 32100-2015, 4.2: no I, O, S, V, Z
_CREDIT_WEIGHTS = [3**i % 31 for i in range(17)]  # GB 32100-2015, annex A
_ORG_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)  # GB 11714-1997, 3.3
_PERSON_WEIGHTS = [2 ** (17 - i) % 11 for i in range(17)]  # GB 11643-1999, ISO 7064 MOD 11-2


def credit_code(text: str) -> bool:
    """统一社会信用代码: 18 characters whose last is C18 = 31 - sum(Ci * 3^(i-1)) mod 31."""
    if len(text) != 18 or any(c not in _ALPHABET for c in text):
        return False
    total = sum(
        _ALPHABET.index(c) * weight for c, weight in zip(text[:17], _CREDIT_WEIGHTS, strict=True)
    )
    return _ALPHABET[-total % 31] == text[17] and text[2:8].isdigit()


def organisation_code(text: str) -> bool:
    """组织机构代码: eight characters and C9 = 11 - sum(Ci * Wi) mod 11 (10 is X, 11 is 0)."""
    known = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if len(text) != 9 or any(c not in known for c in text):
        return False
    total = sum(known.index(c) * w for c, w in zip(text[:8], _ORG_WEIGHTS, strict=True))
    return "0123456789X"[-total % 11] == text[8]


def person_number(text: str) -> bool:
    """居民身份号码: 17 digits and a check character."""
    if len(text) != 18 or not (text[:17].isascii() and text[:17].isdigit()):
        return False
    total = sum(int(c) * w for c, w in zip(text[:17], _PERSON_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == text[17]


def is_tax_id(text: str) -> bool:
    """A credit code; an older number (six digits of region, an organisation code); or a person's
    number with its two digits, as sole traders (个体工商户) have it."""
    if len(text) == 18:
        return credit_code(text) or person_number(text)
    if len(text) == 15:
        region = text[:6]
        return region.isascii() and region.isdigit() and organisation_code(text[6:])
    if len(text) == 20:
        return person_number(text[:18]) and text[18:].isascii() and text[18:].isdigit()
    return False


def tidy(text: str) -> str:
    """As people type it: spaces, hyphens and small letters."""
    return "".join(text.split()).replace("-", "").upper()
