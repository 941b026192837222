"""Payloads in Temporal's histories, encrypted before they leave our processes.

A history of ours holds ids, amounts and what a person noted at an order, and no name or address. Where even that must
not be readable at the server, `ORDERSAGA_TEMPORAL_PAYLOAD_KEYS` names keys: the first one encrypts (AES-256-GCM, each
payload with a fresh nonce), all of them decrypt, so that one key can follow another. Before the very first one
encrypts, every process has to know it: until then `ORDERSAGA_TEMPORAL_ENCRYPT` is false. What was written before is
read as it is. The Web UI shows payloads again with the help of the part `codec-server`.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

from runtime.settings import Settings, SettingsError
from runtime.temporal_payloads import PayloadConverter

_ENCODING: Final = b"binary/encrypted"
_KEY_ID: Final = "encryption-key-id"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_SETTING: Final = "ORDERSAGA_TEMPORAL_PAYLOAD_KEYS"
PLAIN: Final = replace(DataConverter.default, payload_converter_class=PayloadConverter)
"""How payloads are read and written where no keys are named."""


class UnreadablePayload(Exception):
    """A payload was encrypted with a key that is not known, or was changed since; the message names the key."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with the first of the keys, decrypts with each.

    Args:
        keys: id to key, base64 of 32 bytes; at least one.
        encrypts: or else only decrypts.

    Raises:
        SettingsError: a key is none.
    """

    def __init__(self, keys: Mapping[str, SecretStr], *, encrypts: bool = True) -> None:
        self._encrypts = encrypts
        self._ciphers = {key_id: AESGCM(_key(key_id, key.get_secret_value())) for key_id, key in keys.items()}
        self._current = next(iter(self._ciphers))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec`."""
        return [self._encrypt(payload) for payload in payloads] if self._encrypts else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """See `PayloadCodec`; what is not encrypted stays as it is.

        Raises:
            UnreadablePayload: none of the keys fits one of them.
        """
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, payload.SerializeToString(), self._current.encode())
        return Payload(metadata={"encoding": _ENCODING, _KEY_ID: self._current.encode()}, data=nonce + sealed)

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != _ENCODING:
            return payload
        key_id = payload.metadata.get(_KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnreadablePayload(f"a payload was encrypted with the key {key_id!r}, which {_SETTING} does not name")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, key_id.encode()))
        except (InvalidTag, ValueError):
            raise UnreadablePayload(f"a payload does not fit the key {key_id!r} of {_SETTING}") from None


def payload_codec(settings: Settings) -> EncryptionCodec | None:
    """The codec that the settings name keys for; None where payloads are not encrypted.

    Raises:
        SettingsError: a key is none.
    """
    keys = settings.temporal_payload_keys
    return EncryptionCodec(keys, encrypts=settings.temporal_encrypt) if keys else None


def data_converter(settings: Settings) -> DataConverter:
    """How every client and replayer of ours reads and writes payloads; with keys, texts of failures are encrypted, too.

    Raises:
        SettingsError: a key is none.
    """
    codec = payload_codec(settings)
    if codec is None:
        return PLAIN
    return replace(
        PLAIN,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def _key(key_id: str, encoded: str) -> bytes:
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"{_SETTING}, {key_id}: must be base64 of {_KEY_BYTES} bytes: openssl rand -base64 32")
    return key
