"""Delivers notices in the background as WeChat Pay does: signed, sealed, again until taken.

Delays run on real time (divided by the setting's speed) and survive a restart; signatures carry
the sandbox clock's time.
"""

import json
import logging
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

import requests

from payments import wechat_crypto
from payments.sandbox.desk import SandboxSettings, rfc3339
from payments.sandbox.signing import Platform, Signer
from payments.sandbox.state import Row, State

log = logging.getLogger(__name__)

# 15s/15s/30s/3m/10m/20m/30m x3/60m/3h x3/6h x2 (WeChat Pay v3, 支付通知).
REPEATS_S = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)
_WORKERS = 2
_SUMMARY = {"TRANSACTION.SUCCESS": "支付成功", "REFUND.SUCCESS": "退款成功"}
_FIELD_TWISTS = {"wrong_mchid": ("mchid", "1900000999"), "wrong_appid": ("appid", "wx0000")}


class Notifier:
    """A queue in the state file and two threads that empty it. start() and stop() it."""

    def __init__(
        self,
        state: State,
        platform: Platform,
        settings: SandboxSettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._platform = platform
        self._settings = settings
        self._clock = clock
        self._wake = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._http = requests.Session()
        self._http.trust_env = False  # a notice goes straight to the merchant

    def start(self) -> None:
        """Begin delivering; what a crash left half sent is sent again."""
        self._state.run("UPDATE notices SET state = 'waiting' WHERE state = 'sending'")
        for _ in range(_WORKERS):
            thread = threading.Thread(target=self._work, name="sandbox-notifier", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Finish what is being sent and end the threads."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def notify(self, number: str, event_type: str, plain: dict[str, Any], url: str) -> None:
        """Queue one notice about order `number`, with whatever twist was ordered for it."""
        target = "payment_notice" if event_type == "TRANSACTION.SUCCESS" else "refund_notice"
        taken = self._state.take_behaviour(target, number)
        mode, params = taken or ("", {})
        delay_s = float(params.get("delay_s", 2.0)) if mode == "late" else 0.0
        self._state.insert(
            "notices",
            id=str(uuid.uuid4()),
            event_type=event_type,
            number=number,
            url=url,
            plain=json.dumps(plain, ensure_ascii=False),
            created_at=self._clock().timestamp(),
            state={"never": "dropped", "out_of_order": "held"}.get(mode, "waiting"),
            due_at=time.time() + delay_s,
            wanted=2 if mode == "twice" else 1,
            twist=json.dumps({"mode": mode, **params}) if mode else None,
        )
        self.wake()

    def deliver_now(self, notice_id: str) -> bool:
        """Send a notice (again) at once, also one that was to come never; False if unknown."""
        changed = self._state.run(
            "UPDATE notices SET state = 'waiting', due_at = ?, wanted = acknowledged + 1"
            " WHERE id = ?",
            time.time(),
            notice_id,
        )
        self.wake()
        return changed == 1

    def wake(self) -> None:
        """Look at the queue now."""
        with self._wake:
            self._wake.notify_all()

    def _work(self) -> None:
        while not self._stopping:
            try:
                row = self._claim()
                if row is None:
                    self._sleep()
                else:
                    self._deliver(row)
            except Exception:
                log.exception("the sandbox could not deliver a notice")
                self._sleep()

    def _claim(self) -> Row | None:
        return self._state.one(
            "UPDATE notices SET state = 'sending', attempts = attempts + 1 WHERE id = ("
            " SELECT id FROM notices WHERE state = 'waiting' AND due_at <= ?"
            " ORDER BY due_at LIMIT 1) RETURNING *",
            time.time(),
        )

    def _sleep(self) -> None:
        row = self._state.one("SELECT min(due_at) AS at FROM notices WHERE state = 'waiting'")
        wait_s = 1.0
        if row and row["at"] is not None:
            wait_s = min(max(row["at"] - time.time(), 0.01), 1.0)
        with self._wake:
            if not self._stopping:
                self._wake.wait(wait_s)

    def _deliver(self, row: Row) -> None:
        twist = json.loads(row["twist"]) if row["twist"] else {}
        mode = twist.get("mode", "") if row["attempts"] <= int(twist.get("attempts", 1)) else ""
        body = self.envelope(row, mode, twist)
        signer = cast(Signer, self._state.setting("signing", "public_key"))
        headers = self._platform.signed_headers(body, self._clock(), signer, mode)
        headers |= {"Content-Type": "application/json", "Request-ID": secrets.token_hex(16)}
        taken, result = self._post(row["url"], body, headers)
        self._record(row, taken, result)

    def envelope(self, row: Row, mode: str, twist: dict[str, Any]) -> bytes:
        """The notice's body; `mode` spoils what is inside it to order."""
        plain = _twisted(json.loads(row["plain"]), mode, twist)
        key = self._platform.keys.api_v3_key.encode()
        if mode == "wrong_key":
            key = secrets.token_bytes(32)
        kind = "transaction" if row["event_type"] == "TRANSACTION.SUCCESS" else "refund"
        nonce = secrets.token_hex(6)
        sealed = wechat_crypto.encrypt(
            key, nonce, kind, json.dumps(plain, ensure_ascii=False).encode()
        )
        body = {
            "id": row["id"],
            "create_time": rfc3339(row["created_at"]),
            "resource_type": "encrypt-resource",
            "event_type": row["event_type"],
            "summary": _SUMMARY.get(row["event_type"], "退款异常或关闭"),
            "resource": {
                "original_type": kind,
                "algorithm": wechat_crypto.AEAD,
                "ciphertext": sealed,
                "associated_data": kind,
                "nonce": nonce,
            },
        }
        return json.dumps(body, ensure_ascii=False).encode()

    def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[bool, str]:
        timeout_s = self._settings.notice_timeout_s
        try:
            with self._http.post(
                url, data=body, headers=headers, timeout=timeout_s, allow_redirects=False
            ) as answer:
                return answer.status_code in (200, 204), f"HTTP {answer.status_code}"
        except requests.RequestException as error:
            return False, type(error).__name__

    def _record(self, row: Row, taken: bool, result: str) -> None:
        acknowledged = row["acknowledged"] + (1 if taken else 0)
        state, due_at = self._after(row, taken, acknowledged)
        self._state.run(
            "UPDATE notices SET state = ?, due_at = ?, acknowledged = ?, last_result = ?"
            " WHERE id = ?",
            state,
            due_at,
            acknowledged,
            result,
            row["id"],
        )
        if taken:
            self._release(row["id"])

    def _after(self, row: Row, taken: bool, acknowledged: int) -> tuple[str, float]:
        now = time.time()
        if taken:
            return ("waiting", now) if acknowledged < row["wanted"] else ("delivered", now)
        if row["attempts"] > len(REPEATS_S):
            return "given_up", now
        return "waiting", now + REPEATS_S[row["attempts"] - 1] / self._settings.notice_speed

    def _release(self, delivered_id: str) -> None:
        """Let go what was held back to come after another notice."""
        self._state.run(
            "UPDATE notices SET state = 'waiting', due_at = ? WHERE state = 'held' AND id <> ?",
            time.time(),
            delivered_id,
        )
        self.wake()


def _twisted(plain: dict[str, Any], mode: str, twist: dict[str, Any]) -> dict[str, Any]:
    if mode in _FIELD_TWISTS:
        name, value = _FIELD_TWISTS[mode]
        return plain | {name: value}
    if mode == "wrong_currency":
        return plain | {"amount": plain["amount"] | {"currency": "USD"}}
    if mode == "wrong_amount":
        amount = int(twist.get("amount_fen", 1))
        field = "refund" if "refund" in plain["amount"] else "total"
        changed = {field: amount, f"payer_{field}": amount}
        return plain | {"amount": plain["amount"] | changed}
    if mode == "malformed":
        return {name: value for name, value in plain.items() if name != "amount"}
    return plain
