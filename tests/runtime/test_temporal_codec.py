"""Encrypted payloads: one key follows another, and what does not fit is named."""

from __future__ import annotations

import os
from base64 import b64encode

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload

from runtime.settings import Settings, SettingsError
from runtime.temporal_codec import EncryptionCodec, UnreadablePayload, data_converter

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'{"order_id": "7"}')


def key() -> SecretStr:
    return SecretStr(b64encode(os.urandom(32)).decode())


OLD, NEW = key(), key()


async def test_what_was_encrypted_is_read_again_and_looks_different_each_time() -> None:
    codec = EncryptionCodec({"old": OLD})

    first, second = await codec.encode([PLAIN, PLAIN])

    assert first.data != second.data
    assert b"order_id" not in first.SerializeToString()
    assert await codec.decode([first, second]) == [PLAIN, PLAIN]


async def test_one_key_follows_another() -> None:
    [by_old] = await EncryptionCodec({"old": OLD}).encode([PLAIN])
    both = EncryptionCodec({"new": NEW, "old": OLD})
    assert await EncryptionCodec({"old": OLD}, encrypts=False).encode([PLAIN]) == [PLAIN]
    [by_new] = await both.encode([PLAIN])

    assert by_new.metadata["encryption-key-id"] == b"new"
    assert await both.decode([by_old, by_new, PLAIN]) == [PLAIN] * 3  # the last one from before there were keys
    with pytest.raises(UnreadablePayload, match="encrypted with the key 'old', which ORDERSAGA_TEMPORAL_PAYLOAD_KEYS"):
        await EncryptionCodec({"new": NEW}).decode([by_old])


@pytest.mark.parametrize("change", ["data", "key", "cut"])
async def test_a_payload_that_was_changed_is_refused(change: str) -> None:
    codec = EncryptionCodec({"old": OLD, "new": NEW})
    [payload] = await codec.encode([PLAIN])
    match change:
        case "data":
            payload.data = payload.data[:-1] + bytes([payload.data[-1] ^ 1])
        case "key":
            payload.metadata["encryption-key-id"] = b"new"
        case _:
            payload.data = payload.data[:7]

    with pytest.raises(UnreadablePayload, match="does not fit the key"):
        await codec.decode([payload])


@pytest.mark.parametrize("wrong", ["not base64!", b64encode(b"too short").decode()])
def test_a_key_that_is_none_is_named_and_not_shown(wrong: str) -> None:
    with pytest.raises(SettingsError) as error:
        data_converter(Settings(temporal_payload_keys={"one": SecretStr(wrong)}))

    assert str(error.value) == (
        "ORDERSAGA_TEMPORAL_PAYLOAD_KEYS, one: must be base64 of 32 bytes: openssl rand -base64 32"
    )
