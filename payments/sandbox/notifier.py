"""Delivers the channels' notices in the background: signed, again and again until taken.

Delays run on real time (divided by the setting's speed) and survive a restart; signatures carry
the sandbox clock's time.
"""

import json
import logging
import threading
import time
import uuid
from typing import Any

import requests

from payments.sandbox.desk import Sandbox
from payments.sandbox.party import Party
from payments.sandbox.state import Row

log = logging.getLogger(__name__)

_WORKERS = 2
_MAX_REPLY_BYTES = 4096


class Notifier:
    """A queue in the state file and two threads that empty it. start() and stop() it."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._http = requests.Session()
        self._http.trust_env = False  # a notice goes straight to the merchant

    def start(self, box: Sandbox) -> None:
        """Begin delivering; what a crash left half sent is sent again."""
        self._box, self._state, self._settings = box, box.state, box.settings
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

    def notify(
        self, channel: str, number: str, event_type: str, plain: dict[str, Any], url: str
    ) -> None:
        """Queue one notice about order `number`, with whatever twist was ordered for it."""
        target = "refund_notice" if event_type.startswith("REFUND") else "payment_notice"
        taken = self._state.take_behaviour(target, number)
        mode, params = taken or ("", {})
        delay_s = float(params.get("delay_s", 2.0)) if mode == "late" else 0.0
        self._state.insert(
            "notices",
            id=str(uuid.uuid4()),
            channel=channel,
            event_type=event_type,
            number=number,
            url=url,
            plain=json.dumps(plain, ensure_ascii=False),
            created_at=self._box.now_s(),
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
        party = self._box.parties[row["channel"]]
        body, headers = party.compose(self._box, row, mode, twist)
        taken, result = self._post(party, row["url"], body, headers)
        self._record(row, taken, result)

    def _post(
        self, party: Party, url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[bool, str]:
        timeout_s = self._settings.notice_timeout_s
        try:
            with self._http.post(
                url,
                data=body,
                headers=headers,
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
            ) as answer:
                said = answer.raw.read(_MAX_REPLY_BYTES, decode_content=True)
                return party.is_taken(answer.status_code, said), f"HTTP {answer.status_code}"
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
        repeats_s = self._box.parties[row["channel"]].repeats_s
        if row["attempts"] > len(repeats_s):
            return "given_up", now
        return "waiting", now + repeats_s[row["attempts"] - 1] / self._settings.notice_speed

    def _release(self, delivered_id: str) -> None:
        """Let go what was held back to come after another notice."""
        self._state.run(
            "UPDATE notices SET state = 'waiting', due_at = ? WHERE state = 'held' AND id <> ?",
            time.time(),
            delivered_id,
        )
        self.wake()
