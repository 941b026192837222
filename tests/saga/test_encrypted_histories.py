"""A shop whose payloads are encrypted: its sagas run as ever, and their histories tell the server nothing."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment

from cli.replay.gate import Gate
from cli.replay.histories import Source
from cli.replay.verdict import Verdict
from runtime.settings import Settings
from runtime.temporal_codec import data_converter
from tests.support.saga_shop import open_shop


async def test_an_encrypted_order_is_paid_shows_no_payload_to_the_server_and_replays_with_the_key(
    env: WorkflowEnvironment, disposable_databases: Mapping[str, str], tmp_path: Path
) -> None:
    key = SecretStr(b64encode(os.urandom(32)).decode())
    converter = data_converter(Settings(temporal_payload_keys={"one": key}))
    config = env.client.config() | {"data_converter": converter}
    client = Client(**config)

    encrypted = WorkflowEnvironment.from_client(client)
    async with open_shop(disposable_databases, encrypted, data=tmp_path, task_queue="encrypted") as shop:
        product = await shop.product(price=1_250, units=10)
        run = await shop.place((product, 2), payment_method="pm_card_visa", wait=10)
        await shop.deliver_events()
        result = await shop.result(run)
        history = await run.fetch_history()
        disagreements = await shop.disagreements(run)

    assert (result.status, disagreements) == ("PAID", [])
    seen = history.to_json()
    assert "binary/encrypted" in str(history.events)
    assert product not in str(history.events)
    source = Source.of(run.id, type(history).from_json(run.id, seen))
    async with Gate(converter) as with_key, Gate(DataConverter.default) as without:
        assert (await with_key.replay(source)).verdict is Verdict.REPLAYS
        assert (await without.replay(source)).verdict is Verdict.DIFFERS
