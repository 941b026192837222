"""Access tokens: what is signed is verified, and nothing else."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from domain.ids import new_id
from runtime.caller import Caller, CallerRole
from runtime.settings import SettingsError
from runtime.tokens import ExpiredToken, InvalidToken, TokenSigner, TokenVerifier, key_id, to_jwk_set

KEY = Ed25519PrivateKey.generate()
CUSTOMER = Caller(CallerRole.CUSTOMER, new_id())


def private_pem(key: Any = KEY) -> str:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode()


def public_pem(key: Any = KEY) -> str:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def public_keys(*keys: Ed25519PrivateKey) -> str:
    return to_jwk_set(*(key.public_key() for key in keys))


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(**changes: object) -> str:
    """A token with claims of our own making, rightly signed; a change to None leaves the claim out."""
    now = int(time.time())
    claims = {
        "iss": "ordersaga",
        "sub": new_id(),
        "role": "customer",
        "iat": now,
        "exp": now + 60,
        "jti": new_id(),
    } | changes
    payload = json.dumps({name: value for name, value in claims.items() if value is not None})
    return jwt.api_jws.encode(payload.encode(), KEY, algorithm="EdDSA", headers={"kid": key_id(KEY.public_key())})


@pytest.fixture(scope="module")
def verifier() -> TokenVerifier:
    return TokenVerifier(public_keys(KEY))


_ORDER = "0198c0de-0000-7000-8000-000000000001"
GUEST = Caller(CallerRole.GUEST, new_id(), order_id=new_id())


@pytest.mark.parametrize("caller", [CUSTOMER, Caller(CallerRole.ADMIN, new_id()), GUEST])
def test_a_signed_token_says_who_it_is_for(verifier: TokenVerifier, caller: Caller) -> None:
    token = TokenSigner(private_pem(), ttl=60).sign(caller)

    assert verifier.verify(token.text) == caller


def test_a_token_carries_its_claims_and_the_expiry_that_was_answered() -> None:
    token = TokenSigner(private_pem(), ttl=60).sign(CUSTOMER)

    claims = jwt.decode(token.text, options={"verify_signature": False})
    assert set(claims) == {"iss", "sub", "role", "iat", "exp", "jti"}
    assert claims["exp"] - claims["iat"] == 60
    assert claims["exp"] == token.expires_at.timestamp()
    assert jwt.get_unverified_header(token.text)["alg"] == "EdDSA"


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "guest"},
        {"role": "guest", "order": ""},
        {"role": "guest", "order": "7KQ2-M9XD"},
        {"role": "guest", "order": [_ORDER]},
        {"role": "customer", "order": _ORDER},
        {"role": "admin", "order": _ORDER},
    ],
    ids=str,
)
def test_a_guest_has_one_order_and_nobody_else_has(verifier: TokenVerifier, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidToken, match="malformed"):
        verifier.verify(signed(**changes))


def test_a_guest_sees_what_belongs_to_their_order_and_nothing_by_its_owner() -> None:
    assert GUEST.may_see(new_id(), order_id=GUEST.order_id)
    assert not GUEST.may_see(GUEST.id, order_id=new_id())
    assert not GUEST.may_see(GUEST.id)
    assert not Caller(CallerRole.GUEST, GUEST.id).may_see(GUEST.id, order_id="")
    assert not CUSTOMER.may_see(new_id(), order_id=new_id())


def test_two_tokens_have_different_ids() -> None:
    signer = TokenSigner(private_pem(), ttl=60)

    assert signer.sign(CUSTOMER).text != signer.sign(CUSTOMER).text


def test_an_expired_token_is_refused_as_such(verifier: TokenVerifier) -> None:
    token = TokenSigner(private_pem(), ttl=-1).sign(CUSTOMER)

    with pytest.raises(InvalidToken, match="expired"):
        verifier.verify(token.text)


def test_a_token_of_another_key_is_forged(verifier: TokenVerifier) -> None:
    token = TokenSigner(private_pem(Ed25519PrivateKey.generate()), ttl=60).sign(CUSTOMER)

    with pytest.raises(InvalidToken, match="not signed by this shop"):
        verifier.verify(token.text)


def test_a_changed_payload_is_forged(verifier: TokenVerifier) -> None:
    header, payload, signature = signed().split(".")
    claims = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
    changed = encoded(json.dumps(claims | {"role": "admin"}).encode())

    with pytest.raises(InvalidToken, match="not signed by this shop"):
        verifier.verify(f"{header}.{changed}.{signature}")


def test_another_algorithm_is_forged(verifier: TokenVerifier) -> None:
    _, payload, signature = signed().split(".")
    unsigned = f"{encoded(json.dumps({'alg': 'none'}).encode())}.{payload}."
    # the public key as the secret of a MAC: the classic confusion of algorithms
    keyed = f"{encoded(json.dumps({'alg': 'HS256'}).encode())}.{payload}.{signature}"

    for token in (unsigned, keyed):
        with pytest.raises(InvalidToken, match="not signed by this shop"):
            verifier.verify(token)


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "é.b.c", "\ud800.b.c", f"{encoded(b'[]')}.e30.e30", f"{encoded(b'[' * 30_000)}.e30.e30"],
    ids=["empty", "word", "two-parts", "no-json", "not-ascii", "surrogate", "list-header", "deep-header"],
)
def test_what_is_no_token_is_malformed(verifier: TokenVerifier, token: str) -> None:
    with pytest.raises(InvalidToken, match="malformed"):
        verifier.verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another-shop"},
        {"role": "service"},
        {"role": ["admin"]},
        {"sub": "me"},
        {"sub": 7},
        {"exp": "tomorrow"},
        *({claim: None} for claim in ("iss", "sub", "role", "iat", "exp", "jti")),
    ],
    ids=str,
)
def test_other_claims_than_ours_are_malformed(verifier: TokenVerifier, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidToken, match="malformed"):
        verifier.verify(signed(**changes))


def test_a_signer_whose_clock_is_ahead_is_believed(verifier: TokenVerifier) -> None:
    now = int(time.time())

    verifier.verify(signed(iat=now + 30, exp=now + 90))


@pytest.mark.parametrize(
    "pem",
    ["", "not a key", private_pem(generate_private_key(SECP256R1())), public_pem()],
    ids=["empty", "words", "another-curve", "public"],
)
def test_a_wrong_private_key_is_named_by_its_setting(pem: str) -> None:
    with pytest.raises(SettingsError, match="ORDERSAGA_JWT_PRIVATE_KEY"):
        TokenSigner(pem, ttl=60)


EC_KEY = {"kty": "EC", "crv": "P-256", "x": encoded(b"\0" * 32), "y": encoded(b"\0" * 32)}


@pytest.mark.parametrize(
    "jwk_set",
    ["", "not a key", public_pem(), "[]", "{}", '{"keys": []}', json.dumps({"keys": [EC_KEY]})],
    ids=["empty", "words", "pem", "list", "no-keys", "none", "another-curve"],
)
def test_wrong_public_keys_are_named_by_their_setting(jwk_set: str) -> None:
    with pytest.raises(SettingsError, match="ORDERSAGA_JWT_PUBLIC_KEYS"):
        TokenVerifier(jwk_set)


def test_a_keys_id_is_its_jwk_thumbprint() -> None:
    # the key and its thumbprint of RFC 8037, appendix A.2 and A.3
    raw = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")

    assert key_id(Ed25519PublicKey.from_public_bytes(raw)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_while_keys_change_tokens_of_both_are_good_and_then_only_those_of_the_new_one() -> None:
    new = Ed25519PrivateKey.generate()
    tokens = [TokenSigner(private_pem(key), ttl=60).sign(CUSTOMER).text for key in (KEY, new)]
    between, after = TokenVerifier(public_keys(new, KEY)), TokenVerifier(public_keys(new))

    assert [between.verify(token) for token in tokens] == [CUSTOMER, CUSTOMER]
    assert after.verify(tokens[1]) == CUSTOMER
    with pytest.raises(InvalidToken, match="not signed by this shop"):
        after.verify(tokens[0])


def test_a_token_that_is_known_expires_all_the_same(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    token = TokenSigner(private_pem(), ttl=60).sign(CUSTOMER).text
    verifier.verify(token)

    later = time.time() + 61
    monkeypatch.setattr("runtime.tokens.time.time", lambda: later)

    with pytest.raises(ExpiredToken):
        verifier.verify(token)


def test_no_more_tokens_are_remembered_than_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.tokens._KNOWN_TOKENS", 2)
    verifier, signer = TokenVerifier(public_keys(KEY)), TokenSigner(private_pem(), ttl=60)

    for _ in range(5):
        assert verifier.verify(signer.sign(CUSTOMER).text) == CUSTOMER

    assert len(verifier._known) == 2
