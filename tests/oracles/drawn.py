"""Content that hides in signatures: what JSON, forms and sorted parameters have to carry unhurt."""

import string

from hypothesis import settings
from hypothesis import strategies as st

# Chinese, emoji, the signs of forms and of JSON, spaces and a backslash before a slash.
AWKWARD = [
    "热费",
    "暖🔥",
    "+",
    "&",
    "=",
    "%",
    "%20",
    "\\/",
    "/",
    '"',
    "{",
    "}",
    "'",
    " ",
    "，",
    "`",
]
texts = st.lists(st.sampled_from(AWKWARD) | st.text(string.ascii_letters, max_size=3), max_size=6)
texts = texts.map("".join)
words = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
nonces = st.text(string.ascii_letters + string.digits, min_size=12, max_size=32)
names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8).filter(
    lambda name: name.strip("_")
)
moments = st.integers(1_700_000_000, 1_900_000_000)

# Every example asks another process; a busy machine must not make it a failure.
patient = settings(deadline=None, max_examples=60)


def spoilt(text: str, at: int) -> str:
    """The text with one sign changed."""
    at %= len(text)
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
