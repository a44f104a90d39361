"""HTTP as every channel needs it: bounded in time and size, pooled, and never a surprise.

Whatever goes wrong on the way ends as a ChannelError; where the outcome of a write is unknown its
code says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import requests
from requests.auth import AuthBase

from payments.channel import ChannelError

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 8
MAX_ANSWER_BYTES = 1 << 20
MAX_FILE_BYTES = 512 << 20
RETRY_S = 5

Clock = Callable[[], datetime]  # tells aware UTC


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, its body as raw bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class NoAuth(AuthBase):
    """Signs nothing; as an auth object it keeps a netrc file out."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Http:
    """Kept-alive connections to one party. Safe to share between threads."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def exchange(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        auth: AuthBase | None = None,
        limit: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Ask once, within 3 s to connect and 8 s between bytes; redirects are not followed.

        ChannelError: timeout, network, or answer_malformed for an answer above `limit` bytes.
        """
        try:
            with self._session.request(
                method,
                url,
                data=data,
                headers={"User-Agent": "nuan-payments", **(headers or {})},
                auth=auth or NoAuth(),
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as response:
                return Answer(response.status_code, response.headers, _read(response, limit))
        except requests.Timeout as error:
            raise timeout() from error
        except requests.RequestException as error:
            raise network(type(error).__name__) from error

    def close(self) -> None:
        """Let go of the kept-alive connections."""
        self._session.close()


def _read(response: requests.Response, limit: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(1 << 16):
        body += chunk
        if len(body) > limit:
            raise malformed(f"the answer is longer than {limit} bytes")
    return bytes(body)


def timeout() -> ChannelError:
    """Return the error of a call with no answer in time: what became of it is unknown."""
    return ChannelError("timeout", "no answer in time", permanent=False, retry_after_s=RETRY_S)


def network(reason: str) -> ChannelError:
    """Return the error of a call whose connection failed or broke."""
    return ChannelError("network", reason, permanent=False, retry_after_s=RETRY_S)


def unverified(reason: str) -> ChannelError:
    """Return the error of an answer that is not provably the platform's: query, never recreate."""
    message = f"the answer does not verify: {reason}"
    return ChannelError("answer_unverified", message, permanent=False, retry_after_s=RETRY_S)


def malformed(reason: str) -> ChannelError:
    """Return the error of an answer that verifies and yet makes no sense: a person must look."""
    return ChannelError("answer_malformed", reason, permanent=True)
