"""Every secret is followed by another, as docs/operations.md has it, while customers order: nobody sees any of it."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from cli.audit.run import audit
from cli.keys import public_keys
from cli.serve import PARTS
from domain.saga import order_workflow_id
from runtime.settings import Settings
from runtime.temporal import connect_temporal
from runtime.tokens import make_private_key
from sandbox.certificates import CertificateAuthority
from sandbox.environment import process_environment
from sandbox.ports import Ports
from sandbox.postgres.databases import SERVICES
from sandbox.replicas import Replicas
from sandbox.supervisor import Stack
from tests.support.command import ordersaga
from tests.support.replicas import two_of_each
from tests.support.steady_load import TIMEOUT, add_product, open_door, sign_in, sign_up

pytestmark = [pytest.mark.more, pytest.mark.long]

BUYERS = 2
WEBHOOKS = "/v1/webhook_endpoints"


async def replace(replicas: Replicas, *parts: str, **settings: object) -> None:
    """Let these parts have these settings, one process after the other."""
    for part in parts:
        for replica in replicas.of(part):
            replica.settings = replica.settings.model_copy(update=settings)
            await replica.replace()


def renamed(dsn: SecretStr, suffix: str) -> SecretStr:
    """The same database, as another role with another password."""
    known = conninfo_to_dict(dsn.get_secret_value())
    login = f"//{known['user']}:{known['password']}@"
    return SecretStr(dsn.get_secret_value().replace(login, f"//{known['user']}_{suffix}:of-{suffix}@"))


async def new_certificates(folder: Path) -> None:
    """A new CA: first trusted beside the old one, then it signs for all, then it is trusted alone."""
    old, authority = (folder / "ca.pem").read_bytes(), CertificateAuthority()
    (folder / "ca.pem").write_bytes(old + authority.pem)
    await asyncio.sleep(2)  # what every process takes, by its own clock, to read them again
    authority.issue_all(made := folder / "new")
    for file in made.iterdir():
        if file.name != "ca.pem":
            file.rename(folder / file.name)
    await asyncio.sleep(2)
    (folder / "ca.pem").write_bytes(authority.pem)


async def new_roles(settings: Settings, admin: str) -> Mapping[str, Any]:
    """Roles that follow the services' and the relay's, made and let in; what the parts are to be told of them."""
    dsns = {f"{service}_dsn": renamed(getattr(settings, f"{service}_dsn"), "next") for service in SERVICES}
    relays = {service: renamed(dsn, "next") for service, dsn in settings.relay_dsns.items()}
    with psycopg.connect(admin, autocommit=True) as connection:
        for role in (*(f"ordersaga_{service}_next" for service in SERVICES), "relay_next"):
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-next'".encode())
    changed = settings.model_copy(update={**dsns, "relay_dsns": relays, "relay_role": "relay_next"})
    environment = process_environment(changed, "setup databases")
    done = await asyncio.to_thread(ordersaga, "setup", "databases", environment=environment)
    assert done.returncode == 0, done.stderr
    return {**dsns, "relay_dsns": relays}


async def test_new_secrets_follow_the_old_ones_and_nobody_sees_it(tmp_path: Path) -> None:
    ports = Ports.free()
    (tmp_path / "logs").mkdir()
    (tmp_path / "old.pem").touch(0o600)
    async with (
        Stack(var=tmp_path / "var", ports=ports, parts=False) as stack,
        two_of_each(stack.settings, gateway_port=ports.gateway, folder=tmp_path / "logs") as replicas,
        open_door(replicas.of("gateway")) as door,
        httpx.AsyncClient(base_url=stack.endpoints.stripe, timeout=TIMEOUT, trust_env=False) as stripe,
    ):
        settings = stack.settings
        stripe_key = {"Authorization": f"Bearer {settings.required('stripe_api_key')}"}
        account = stack.endpoints.accounts["admin"]
        admin = await sign_in(door, account.email, account.password)
        product, sold_out = await add_product(door, admin, units=1_000_000), await add_product(door, admin, units=0)
        buyers = [await sign_up(door, stripe, product=product, sold_out=sold_out) for _ in range(BUYERS)]
        stopping = asyncio.Event()

        async with asyncio.TaskGroup() as shopping:
            for buyer in buyers:
                shopping.create_task(buyer.buy(stopping))

            await new_certificates(tmp_path / "var" / "certificates")

            roles = await new_roles(settings, stack.administrator)
            (tmp_path / "new.pem").write_text(new_key := make_private_key())
            (tmp_path / "old.pem").write_text(settings.required("jwt_private_key"))
            [old] = (await stripe.get(WEBHOOKS, headers=stripe_key)).json()["data"]
            endpoint = {"url": old["url"], "enabled_events[]": old["enabled_events"], "api_version": old["api_version"]}
            made = (await stripe.post(WEBHOOKS, data=endpoint, headers=stripe_key)).raise_for_status().json()
            payload_keys = {"one": SecretStr(b64encode(os.urandom(32)).decode())}
            await replace(
                replicas,
                *PARTS,
                **roles,
                jwt_public_keys=public_keys([tmp_path / "new.pem", tmp_path / "old.pem"]),
                stripe_webhook_secret=SecretStr(made["secret"]),
                stripe_webhook_secret_previous=settings.stripe_webhook_secret,
                temporal_payload_keys=payload_keys,
                temporal_encrypt=False,
            )

            await replace(replicas, "user", jwt_private_key=SecretStr(new_key))
            await replace(replicas, "order", "payment", "order-worker", temporal_encrypt=True)
            await stripe.post(f"{WEBHOOKS}/{old['id']}", data={"disabled": "true"}, headers=stripe_key)
            await buyers[0].until_placed(len(buyers[0].placed) + 8)  # each kind, with the new secrets alone
            stopping.set()

        with psycopg.connect(stack.administrator, autocommit=True) as connection:
            connected = connection.execute("SELECT DISTINCT usename FROM pg_stat_activity WHERE usename IS NOT NULL")
            roles_in_use = {role for (role,) in connected}
        assert roles_in_use.isdisjoint({"relay", *(f"ordersaga_{service}" for service in SERVICES)})
        newest = await sign_in(door, account.email, account.password)
        header = jwt.get_unverified_header(newest["Authorization"].removeprefix("Bearer "))
        assert header["kid"] in public_keys([tmp_path / "new.pem"])
        client = await connect_temporal(settings)
        last = client.get_workflow_handle(order_workflow_id(buyers[0].placed[-1].order_id))
        assert "binary/encrypted" in str((await last.fetch_history()).events[0])
        with_keys = settings.model_copy(update={"temporal_payload_keys": payload_keys})
        assert (await audit(with_keys))[1] == []
