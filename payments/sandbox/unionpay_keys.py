"""The merchant's and UnionPay's certificates, laid out as UnionPay's kit has them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from payments.sandbox.keys import ensure_set, new_key, private_pem, write_file, write_values

PASSWORD = "000000"
_VALID_FROM, _VALID_TO = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class UnionPayKeys:
    """Paths and plain values; the .pfx opens with `PASSWORD`."""

    directory: Path
    mer_id: str

    @property
    def sign_path(self) -> Path:
        """The merchant's key and certificate, PKCS #12."""
        return self.directory / "acp_sign.pfx"

    @property
    def sign_cert_path(self) -> Path:
        """The merchant's certificate, as UnionPay knows it."""
        return self.directory / "acp_sign.pem"

    @property
    def root_path(self) -> Path:
        """UnionPay's root certificate."""
        return self.directory / "acp_root.pem"

    @property
    def middle_path(self) -> Path:
        """The certificate between root and signer."""
        return self.directory / "acp_middle.pem"

    @property
    def gateway_cert_path(self) -> Path:
        """The certificate UnionPay's messages bring along."""
        return self.directory / "gateway.pem"

    @property
    def gateway_key_path(self) -> Path:
        """Its private key: the sandbox's own."""
        return self.directory / "gateway_key.pem"


def ensure_unionpay_keys(directory: Path) -> UnionPayKeys:
    """The keys in `directory`, made if there are none. OSError."""
    return UnionPayKeys(directory=directory, **ensure_set(directory, _write_all))


def issued(
    name: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, is_ca: bool
) -> x509.Certificate:
    """A certificate for `name`, signed by the issuer."""
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_TO)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write_all(directory: Path) -> None:
    root, middle, gateway, merchant = (new_key() for _ in range(4))
    names = ("CFCA ACS CA (sandbox)", "CFCA ACS OCA31 (sandbox)")
    signer = "041@Z2016@中国银联股份有限公司@00040000:SIGN"
    certificates = {
        "acp_root.pem": issued(names[0], root, names[0], root, is_ca=True),
        "acp_middle.pem": issued(names[1], middle, names[0], root, is_ca=True),
        "gateway.pem": issued(signer, gateway, names[1], middle, is_ca=False),
        "acp_sign.pem": issued("041@N@沙箱供热公司", merchant, names[1], middle, is_ca=False),
    }
    for file, certificate in certificates.items():
        write_file(directory / file, certificate.public_bytes(serialization.Encoding.PEM))
    bundle = pkcs12.serialize_key_and_certificates(
        b"acp",
        merchant,
        certificates["acp_sign.pem"],
        None,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )
    write_file(directory / "acp_sign.pfx", bundle)
    write_file(directory / "gateway_key.pem", private_pem(gateway))
    write_values(directory, {"mer_id": "777290058110048"})
