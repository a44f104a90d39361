"""Every key the sandbox and a merchant under it need, made at first start and kept.

The layout is what a merchant gets from WeChat's console, so demo settings can point at the files.
"""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from payments.rsa2 import load_private_key
from payments.wechat_crypto import certificate_serial

# Fixed and wide, so that a test or a demo may run on any clock.
_VALID_FROM, _VALID_TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
_KEY_BITS = 2048
VALUES = "sandbox.json"


@dataclass(frozen=True)
class SandboxKeys:
    """Paths of the PEM files, and the plain values; the secrets among them stay out of repr."""

    directory: Path
    mchid: str
    appid: str
    app_secret: str
    api_v3_key: str
    merchant_serial: str
    platform_serial: str
    public_key_id: str

    @property
    def appids(self) -> tuple[str, ...]:
        """The apps bound to the merchant: the mini-program and the official account."""
        return (self.appid, "wx9999999999999999")

    def __repr__(self) -> str:
        return f"SandboxKeys({str(self.directory)!r})"

    @property
    def merchant_key_path(self) -> Path:
        """The merchant's private key (apiclient_key.pem)."""
        return self.directory / "apiclient_key.pem"

    @property
    def merchant_cert_path(self) -> Path:
        """The merchant's certificate (apiclient_cert.pem)."""
        return self.directory / "apiclient_cert.pem"

    @property
    def public_key_path(self) -> Path:
        """The platform's public key (pub_key.pem), known as `public_key_id`."""
        return self.directory / "pub_key.pem"

    @property
    def platform_cert_path(self) -> Path:
        """The platform's certificate, as /v3/certificates publishes it."""
        return self.directory / "platform_cert.pem"

    @property
    def platform_key_path(self) -> Path:
        """Private half of the platform certificate: the sandbox's own."""
        return self.directory / "platform_key.pem"

    @property
    def public_key_private_path(self) -> Path:
        """Private half of the public key: the sandbox's own."""
        return self.directory / "pub_key_private.pem"


def ensure_keys(directory: Path | str) -> SandboxKeys:
    """Return WeChat Pay's keys in `directory`, making them if there are none. OSError."""
    target = Path(directory)
    return SandboxKeys(directory=target, **ensure_set(target, _write_all))


def ensure_set(target: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    """The values in a set of keys, made by `write` if there is none; two processes may race.

    The set appears at once by a rename, so nobody ever reads half of it. OSError if the place
    cannot be written.
    """
    if not (target / VALUES).exists():
        _make(target, write)
    values: dict[str, Any] = json.loads((target / VALUES).read_text("utf-8"))
    return values


def _make(target: Path, write: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".keys-", dir=target.parent))
    try:
        write(fresh)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        os.rename(fresh, target)
    except OSError:
        if not (target / VALUES).exists():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_all(directory: Path) -> None:
    merchant, platform, public = (new_key() for _ in range(3))
    merchant_cert = self_signed(merchant, "沙箱供热公司")
    platform_cert = self_signed(platform, "Tenpay.com Root CA (sandbox)")
    write_file(directory / "apiclient_key.pem", private_pem(merchant))
    write_file(directory / "apiclient_cert.pem", _cert_pem(merchant_cert))
    write_file(directory / "platform_key.pem", private_pem(platform))
    write_file(directory / "platform_cert.pem", _cert_pem(platform_cert))
    write_file(directory / "pub_key_private.pem", private_pem(public))
    write_file(directory / "pub_key.pem", public_pem(public))
    values = {
        "mchid": "1900000109",
        "appid": "wx8888888888888888",
        "app_secret": secrets.token_hex(16),
        "api_v3_key": secrets.token_hex(16),
        "merchant_serial": certificate_serial(merchant_cert),
        "platform_serial": certificate_serial(platform_cert),
        "public_key_id": f"PUB_KEY_ID_0{secrets.randbelow(10**31):031d}",
    }
    write_values(directory, values)


def self_signed(key: rsa.RSAPrivateKey, name: str) -> x509.Certificate:
    """Return a self-signed certificate with a 160-bit serial."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_TO)
        .sign(key, hashes.SHA256())
    )


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """PKCS#8 PEM, unencrypted, as WeChat's console hands it out."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    """SubjectPublicKeyInfo PEM of the public half."""
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def write_values(directory: Path, values: Mapping[str, str]) -> None:
    """Keep a set's plain values beside its files."""
    write_file(directory / VALUES, json.dumps(values, indent=2).encode())


def new_key() -> rsa.RSAPrivateKey:
    """A fresh key of 2048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _cert_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def write_file(path: Path, data: bytes) -> None:
    """Write a file only its owner can read; FileExistsError where it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def read_private_key(path: Path) -> rsa.RSAPrivateKey:
    """Read one of the private keys above."""
    return load_private_key(path.read_bytes())
