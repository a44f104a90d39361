"""IoT platforms as they push: the JSON each one sends, signed as it signs, with faults to order.

    async with SimulatedPlatform("ctwing", url) as platform:
        status = await platform.push("862592051651472", frame, at)

`body` alone makes what goes over HTTP or, for ChirpStack, MQTT.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import aiohttp

from collectors.simulator.faults import PUSH_EFFECTS, FaultPlan, PushFault


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _ctwing(device: str, payload: bytes, at: datetime) -> dict[str, Any]:
    return {
        "upPacketSN": -1,
        "upDataSN": -1,
        "topic": "v1/up/ad",
        "timestamp": _ms(at),
        "tenantId": "2000033629",
        "serviceId": "",
        "protocol": "lwm2m",
        "productId": "15114816",
        "payload": {"APPdata": _b64(payload)},
        "messageType": "dataReport",
        "deviceType": "",
        "deviceId": hashlib.md5(device.encode()).hexdigest(),
        "assocAssetId": "",
        "IMSI": "undefined",
        "IMEI": device,
    }


def _oceanconnect(device: str, payload: bytes, at: datetime) -> dict[str, Any]:
    return {
        "notifyType": "deviceDataChanged",
        "deviceId": device,
        "gatewayId": device,
        "service": {
            "serviceId": "Meter",
            "serviceType": "Meter",
            "data": {"rawData": _b64(payload)},
            "eventTime": f"{at:%Y%m%dT%H%M%SZ}",
        },
    }


def _onenet(device: str, payload: bytes, at: datetime) -> dict[str, Any]:
    return {
        "type": 1,
        "dev_id": int(hashlib.md5(device.encode()).hexdigest()[:7], 16),
        "ds_id": "3200_0_5505",
        "at": _ms(at),
        "value": payload.hex(),
        "imei": device,
    }


def _chirpstack4(device: str, payload: bytes, at: datetime) -> dict[str, Any]:
    return {
        "deduplicationId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{device}{at}")),
        "time": at.isoformat(),
        "deviceInfo": {
            "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
            "applicationId": "17c82e96-be03-4f38-aef3-f83d48582d97",
            "deviceName": f"meter {device}",
            "devEui": device.lower(),
        },
        "devAddr": "00189440",
        "dr": 1,
        "fCnt": 4,
        "fPort": 1,
        "data": _b64(payload),
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -48, "snr": 9.0}],
        "txInfo": {"frequency": 868100000},
    }


def _chirpstack3(device: str, payload: bytes, at: datetime) -> dict[str, Any]:
    return {
        "applicationID": "123",
        "applicationName": "meters",
        "deviceName": f"meter {device}",
        "devEUI": _b64(bytes.fromhex(device)),
        "rxInfo": [
            {
                "gatewayID": "AAAAAAAAAAE=",
                "time": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}",
                "rssi": -48,
                "loRaSNR": 9,
            }
        ],
        "txInfo": {"frequency": 868100000, "dr": 5},
        "adr": True,
        "fCnt": 10,
        "fPort": 5,
        "data": _b64(payload),
    }


SHAPES: Final[dict[str, Callable[[str, bytes, datetime], dict[str, Any]]]] = {
    "ctwing": _ctwing,
    "oceanconnect": _oceanconnect,
    "onenet": _onenet,
    "chirpstack": _chirpstack4,
    "chirpstack3": _chirpstack3,
}


def onenet_sign(token: str, nonce: str, msg: str) -> str:
    """OneNET's signature: base64 of the MD5 over token, nonce and message."""
    return _b64(hashlib.md5(f"{token}{nonce}{msg}".encode()).digest())


def body(
    shape: str,
    device: str,
    payload: bytes,
    at: datetime,
    *,
    token: str = "",
    fault: PushFault | None = None,
) -> bytes:
    """The JSON of one push. `shape` is one of SHAPES, `at` in UTC, `token` OneNET's."""
    effect = PUSH_EFFECTS[fault]
    message = SHAPES[shape](device, payload, at + effect.shift)
    if shape == "onenet":
        message = _signed(message, token + "x" * effect.is_forged)
    if effect.padding:
        message["padding"] = "x" * effect.padding
    text = json.dumps(message, separators=(",", ":")).encode()
    return text[: int(len(text) * effect.keeps)]


def _signed(message: dict[str, Any], token: str) -> dict[str, Any]:
    msg, nonce = json.dumps(message, separators=(",", ":")), uuid.uuid4().hex[:8]
    return {"msg": msg, "nonce": nonce, "msg_signature": onenet_sign(token, nonce, msg)}


class SimulatedPlatform:
    """A platform that pushes to `url` (http://host:port/push/<platform>/<secret>)."""

    def __init__(self, shape: str, url: str, *, token: str = "", faults: FaultPlan | None = None):
        self.shape, self.url, self.token = shape, url, token
        self.faults = faults or FaultPlan()
        self._held: list[bytes] = []

    async def __aenter__(self) -> SimulatedPlatform:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def push(
        self, device: str, payload: bytes, at: datetime, fault: PushFault | None = None
    ) -> int:
        """Push with a fault, the plan's next where none is named; the last status, 0 where
        nothing was sent."""
        fault = fault or self.faults.next()
        effect = PUSH_EFFECTS[fault]
        text = body(self.shape, device, payload, at, token=self.token, fault=fault)
        held, self._held = self._held, []
        if effect.is_held:
            self._held = [text]
        statuses = [
            await self.send(one) for one in [text] * (0 if effect.is_held else effect.times) + held
        ]
        return statuses[-1] if statuses else 0

    async def send(self, text: bytes) -> int:
        """POST a body; the status."""
        headers = {"Content-Type": "application/json"}
        async with self._http.post(self.url, data=text, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def verify(self, msg: str = "hello", nonce: str = "12345678") -> tuple[int, str]:
        """OneNET's check of the URL when it is entered there: (status, body)."""
        signature = onenet_sign(self.token, nonce, msg)
        query = {"msg": msg, "nonce": nonce, "signature": signature}
        async with self._http.get(self.url, params=query) as answer:
            return answer.status, await answer.text()
