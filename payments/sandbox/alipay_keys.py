"""The app's and Alipay's keys, in the forms Alipay's console and tools hand out."""

import base64
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from payments.sandbox.keys import ensure_set, new_key, private_pem, public_pem, write_file
from payments.sandbox.keys import write_values as keep_values


@dataclass(frozen=True)
class AlipayKeys:
    """Paths and plain values; `app_key_path` is the bare base64 PKCS #8 of Alipay's own tool."""

    directory: Path
    app_id: str
    seller_id: str

    @property
    def app_key_path(self) -> Path:
        """The app's private key: the merchant's."""
        return self.directory / "app_private_key.txt"

    @property
    def app_public_path(self) -> Path:
        """Its public half, as the merchant gave it to Alipay."""
        return self.directory / "app_public_key.pem"

    @property
    def alipay_public_path(self) -> Path:
        """Alipay's public key, bare base64 as the console shows it."""
        return self.directory / "alipay_public_key.txt"

    @property
    def alipay_key_path(self) -> Path:
        """Alipay's private key: the sandbox's own."""
        return self.directory / "alipay_private_key.pem"


def ensure_alipay_keys(directory: Path) -> AlipayKeys:
    """The keys in `directory`, made if there are none. OSError."""
    return AlipayKeys(directory=directory, **ensure_set(directory, _write_all))


def _write_all(directory: Path) -> None:
    app, alipay = new_key(), new_key()
    bare = app.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_file(directory / "app_private_key.txt", base64.b64encode(bare))
    write_file(directory / "app_public_key.pem", public_pem(app))
    write_file(directory / "alipay_private_key.pem", private_pem(alipay))
    public = alipay.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_file(directory / "alipay_public_key.txt", base64.b64encode(public))
    keep_values(directory, {"app_id": "2021000000000001", "seller_id": "2088000000000001"})
