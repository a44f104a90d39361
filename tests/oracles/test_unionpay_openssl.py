"""UnionPay ACP 5.1.0 against two that are not ours: the openssl command, and the gateway itself.

data/unionpay-gateway-2019.json holds three messages UnionPay's own gateway signed, as a public
repository shows them (a payment's notice, a refund's answer and its notice, of 0.01 yuan each).
They carry no card.  The certificate they bring has run out, so only what is signed is held here.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from payments import rsa2, unionpay_crypto
from payments.sandbox.unionpay_desk import UnionPayParty
from payments.sandbox.unionpay_keys import PASSWORD
from payments.unionpay_crypto import Trust, load_signing_key, signed
from tests.oracles import drawn
from tests.oracles.test_unionpay import NOW, fields

OPENSSL = shutil.which("openssl")
PUBLISHED = json.loads(
    (Path(__file__).parent / "data" / "unionpay-gateway-2019.json").read_text("utf-8")
)
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl command on this machine")
# Each example is several processes.
few = settings(deadline=None, max_examples=15)


def run(*arguments, given=b"", good=True):
    done = subprocess.run([OPENSSL, *map(str, arguments)], input=given, capture_output=True)
    if good:
        assert done.returncode == 0, done.stderr
    return done


def hex_digest(whole):
    """sha256 of the sorted fields by openssl, in the lower-case hex that is then signed."""
    names = sorted(name for name in whole if name != "signature")
    text = "&".join(f"{name}={whole[name]}" for name in names)
    return run("dgst", "-sha256", "-r", given=text.encode()).stdout.split(b" ")[0].strip()


def holds(public_key, whole, directory):
    """Whether openssl believes the signature of these fields."""
    signature = directory / "signature"
    signature.write_bytes(run("base64", "-d", "-A", given=whole["signature"].encode()).stdout)
    told = run(
        *("dgst", "-sha256", "-verify", public_key, "-signature", signature),
        given=hex_digest(whole),
        good=False,
    )
    return told.stdout.strip() == b"Verified OK"


def public_key_of(certificate, directory):
    key = directory / "public.pem"
    key.write_bytes(run("x509", "-in", certificate, "-pubkey", "-noout").stdout)
    return key


@pytest.mark.parametrize("name", PUBLISHED)
def test_we_believe_what_the_gateway_itself_has_signed(name):
    told = PUBLISHED[name]
    leaf = x509.load_pem_x509_certificate(told["signPubKeyCert"].encode())
    key = leaf.public_key()
    assert unionpay_crypto._owner(leaf) == unionpay_crypto.OWNER
    assert rsa2.verifies(key, unionpay_crypto.digest(told), told["signature"])
    unix_lines = told["signPubKeyCert"].replace("\r\n", "\n")  # the CRLF is part of what is signed
    for wrong in ({"txnAmt": "2"}, {"more": "x"}, {"signPubKeyCert": unix_lines}):
        assert not rsa2.verifies(key, unionpay_crypto.digest(told | wrong), told["signature"])


@needs_openssl
@pytest.mark.parametrize("name", PUBLISHED)
def test_openssl_believes_the_gateway_by_the_same_rule(name, tmp_path):
    told = PUBLISHED[name]
    certificate = tmp_path / "gateway.pem"
    certificate.write_text(told["signPubKeyCert"], newline="")
    assert holds(public_key_of(certificate, tmp_path), told, tmp_path)


@needs_openssl
@few
@given(asked=fields, at=st.integers(0, 300))
def test_openssl_believes_our_requests_and_no_changed_one(union_keys, directory, asked, at):
    key = load_signing_key(union_keys.sign_path.read_bytes(), PASSWORD)
    public_key = public_key_of(union_keys.sign_cert_path, directory)
    whole = signed(asked, key)
    assert holds(public_key, whole, directory)
    assert not holds(public_key, whole | {"txnAmt": "12346"}, directory)
    spoilt = drawn.spoilt(whole["signature"].rstrip("="), at) + "=="
    assert not holds(public_key, whole | {"signature": spoilt}, directory)


@needs_openssl
@few
@given(told=fields)
def test_we_believe_what_openssl_signs(union_keys, directory, told):
    trust = Trust.of(union_keys.root_path.read_bytes(), union_keys.middle_path.read_bytes())
    whole = {name: value for name, value in told.items() if value}
    whole |= {"version": "5.1.0", "signMethod": "01"}
    whole["signPubKeyCert"] = union_keys.gateway_cert_path.read_text()
    raw = run("dgst", "-sha256", "-sign", union_keys.gateway_key_path, given=hex_digest(whole))
    whole["signature"] = run("base64", "-A", given=raw.stdout).stdout.decode()
    trust.verify(whole, NOW)


@needs_openssl
@few
@given(told=fields)
def test_openssl_believes_the_sandboxs_answers(union_keys, directory, told):
    whole = UnionPayParty(union_keys).signed(told)
    assert holds(public_key_of(union_keys.gateway_cert_path, directory), whole, directory)


@needs_openssl
def test_openssl_reads_the_same_serial_out_of_the_merchants_pfx(union_keys, tmp_path):
    """certId is the certificate's serial in decimal; openssl packs and unpacks the file."""
    mine = load_signing_key(union_keys.sign_path.read_bytes(), PASSWORD)
    given_out = tmp_path / "certificate.pem"
    legacy = ("-nokeys", "-clcerts", "-passin", f"pass:{PASSWORD}", "-out", given_out)
    run("pkcs12", "-in", union_keys.sign_path, *legacy)
    told = run("x509", "-in", given_out, "-serial", "-noout").stdout.decode().strip()
    assert str(int(told.removeprefix("serial="), 16)) == mine.cert_id
    pem, packed = tmp_path / "key.pem", tmp_path / "again.pfx"
    run("pkcs12", "-in", union_keys.sign_path, "-nodes", "-passin", f"pass:{PASSWORD}", "-out", pem)
    run("pkcs12", "-export", "-in", pem, "-passout", "pass:000000", "-out", packed)
    again = load_signing_key(packed.read_bytes(), "000000")
    assert again.cert_id == mine.cert_id
    assert again.key.private_numbers() == mine.key.private_numbers()
