"""UnionPay ACP 5.1.0 has no SDK: Node's own OpenSSL signs and checks the same fields as ours."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.sandbox.unionpay_desk import UnionPayParty
from payments.sandbox.unionpay_keys import PASSWORD
from payments.unionpay_crypto import Trust, Untrusted, load_signing_key, signed
from tests.oracles import drawn

NOW = datetime.now(UTC)
fields = st.dictionaries(drawn.words, drawn.texts, min_size=1, max_size=6).map(
    lambda drawn_fields: {"orderId": "N1", "txnAmt": "12345", **drawn_fields}
)


@pytest.fixture(scope="module")
def trust(union_keys):
    return Trust.of(union_keys.root_path.read_bytes(), union_keys.middle_path.read_bytes())


@pytest.fixture(scope="module")
def chain(union_keys):
    return {
        "root": union_keys.root_path.read_text(),
        "middle": union_keys.middle_path.read_text(),
        "now": NOW.timestamp() * 1000,
    }


@drawn.patient
@given(asked=fields)
def test_it_believes_our_requests(oracle, union_keys, asked):
    key = load_signing_key(union_keys.sign_path.read_bytes(), PASSWORD)
    whole = signed(asked, key)
    certificate = union_keys.sign_cert_path.read_text()
    assert oracle.union_request_holds(cert=certificate, fields=whole)
    for wrong in ({**whole, "txnAmt": "12346"}, {**whole, "more": "x"}):
        assert not oracle.union_request_holds(cert=certificate, fields=wrong)


@drawn.patient
@given(told=fields, at=st.integers(0, 300))
def test_both_believe_the_sandboxs_answers_and_neither_a_changed_one(
    oracle, union_keys, trust, chain, told, at
):
    whole = UnionPayParty(union_keys).signed(told)
    assert oracle.union_holds(fields=whole, **chain)
    trust.verify(whole, NOW)
    wrong = {**whole, "signature": drawn.spoilt(whole["signature"].rstrip("="), at) + "=="}
    for refused in ({**whole, "txnAmt": "1"}, wrong):
        assert not oracle.union_holds(fields=refused, **chain)
        with pytest.raises(Untrusted):
            trust.verify(refused, NOW)


@drawn.patient
@given(told=fields)
def test_we_believe_what_it_signs(oracle, union_keys, trust, told):
    whole = {
        **{name: value for name, value in told.items() if value},
        "version": "5.1.0",
        "signMethod": "01",
        "signPubKeyCert": union_keys.gateway_cert_path.read_text(),
    }
    key = union_keys.gateway_key_path.read_text()
    whole["signature"] = oracle.union_sign(key=key, fields=whole)
    trust.verify(whole, NOW)
    with pytest.raises(Untrusted):
        trust.verify({**whole, "orderId": "N2"}, NOW)


def test_a_certificate_of_somebody_else_is_refused_by_both(oracle, union_keys, trust, chain):
    whole = UnionPayParty(union_keys).signed({"orderId": "N1"}, "wrong_serial")
    assert not oracle.union_holds(fields=whole, **chain)
    with pytest.raises(Untrusted):
        trust.verify(whole, NOW)
