"""`ordersaga doctor` and `setup` on the embedded stack: all well, then one thing broken at a time, each named."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from cli.doctor.finding import Finding, State
from cli.doctor.run import look
from cli.serve import PARTS
from domain.ids import new_id
from runtime.identity import Part
from runtime.part_settings import SETTINGS
from runtime.settings import Settings
from runtime.tokens import make_private_key
from sandbox.environment import process_environment
from sandbox.ports import free_port
from tests.support.client import StackClient, running_stack
from tests.support.command import ordersaga
from tests.support.identities import authority
from tests.support.served_part import served

Change = Callable[[Settings, Path], Mapping[str, Any]]


@pytest_asyncio.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StackClient]:
    async with running_stack(tmp_path_factory.mktemp("var")) as client:
        yield client


def dsn_with(dsn: SecretStr | None, **parameters: str) -> SecretStr:
    assert dsn is not None
    return SecretStr(make_conninfo("", **{**conninfo_to_dict(dsn.get_secret_value()), **parameters}))


def certificate_of(part: Part, folder: Path) -> dict[str, str]:
    """The settings of a part whose certificate names another one, or comes from another CA."""
    certificate, key = authority().issue(part)
    (folder / "part.pem").write_bytes(certificate)
    (folder / "part.key").write_bytes(key)
    return {"tls_certificate_file": str(folder / "part.pem"), "tls_key_file": str(folder / "part.key")}


BROKEN: Mapping[str, tuple[Change, str, str, str]] = {
    # what is broken: how, whose line it is, which line, what it says
    "wrong database password": (
        lambda settings, _: {"order_dsn": dsn_with(settings.order_dsn, password="wrong")},
        "order",
        "database",
        'password authentication failed for user "ordersaga_order"; see ORDERSAGA_ORDER_DSN',
    ),
    "no tables": (
        lambda settings, _: {"order_dsn": dsn_with(settings.order_dsn, options="-csearch_path=nowhere")},
        "order",
        "database",
        "it has no tables for us; run `ordersaga setup databases`",
    ),
    "relay as a role without rights": (
        lambda settings, _: {"relay_dsns": settings.relay_dsns | {"order": settings.audit_dsns["order"]}},
        "relay",
        "database order",
        "the relay's role may not read and mark its outbox; run `ordersaga setup databases`",
    ),
    "audit as a role without rights": (
        lambda settings, _: {"audit_dsns": settings.audit_dsns | {"order": settings.relay_dsns["order"]}},
        "installation",
        "audit of database order",
        "permission denied for table orders; run `ordersaga setup databases`",
    ),
    "no namespace": (
        lambda _, __: {"temporal_namespace": "elsewhere"},
        "order-worker",
        "temporal",
        "Temporal has no namespace elsewhere; run `ordersaga setup temporal`",
    ),
    "no Temporal": (
        lambda _, __: {"temporal_address": f"127.0.0.1:{free_port()}"},
        "order",
        "temporal",
        "Temporal: no connection: Connection refused; see ORDERSAGA_TEMPORAL_ADDRESS, or the profile",
    ),
    "Kafka speaks no TLS": (
        lambda _, __: {"kafka_security_protocol": "SSL"},
        "relay",
        "kafka",
        "no answer within 1.5 s: is it the port of another protocol?",
    ),
    "topics on too few brokers": (
        lambda _, __: {"kafka_replication": 3},
        "installation",
        "kafka topics",
        "kept by 1 brokers, not 3; see ORDERSAGA_KAFKA_REPLICATION",
    ),
    "another's Stripe key": (
        lambda _, __: {"stripe_api_key": SecretStr("sk_test_somebody_else")},
        "payment",
        "stripe",
        "Stripe refuses our key; see ORDERSAGA_STRIPE_API_KEY",
    ),
    "no webhook endpoint": (
        lambda _, __: {"stripe_webhook_url": "http://127.0.0.1:1/webhooks/stripe"},
        "installation",
        "stripe endpoint",
        "run `ordersaga setup stripe`",
    ),
    "no SMTP relay": (
        lambda _, __: {"smtp_port": 1},
        "notification",
        "smtp",
        "no SMTP relay answers at 127.0.0.1:1 (SMTPConnectError); see ORDERSAGA_SMTP_HOST and ORDERSAGA_SMTP_PORT",
    ),
    "sender without an address": (
        lambda _, __: {"mail_sender": "nonsense"},
        "notification",
        "settings",
        "ORDERSAGA_MAIL_SENDER: 'nonsense' has no e-mail address, as in Shop <orders@example.test>",
    ),
    "a service that is away": (
        lambda _, __: {"product_address": f"127.0.0.1:{free_port()}"},
        "gateway",
        "product",
        "Connection refused; is `ordersaga serve product` running, and ORDERSAGA_PRODUCT_ADDRESS where it is?",
    ),
    "another part's certificate": (
        lambda _, folder: certificate_of(Part.PRODUCT, folder),
        "order",
        "settings",
        "ORDERSAGA_TLS_CERTIFICATE_FILE",
    ),
    "another CA's certificate": (
        lambda _, folder: certificate_of(Part.ORDER, folder),
        "order",
        "settings",
        "ORDERSAGA_TLS_CA_FILE",
    ),
    "tokens signed with a key that nobody knows": (
        lambda _, __: {"jwt_private_key": SecretStr(make_private_key())},
        "installation",
        "token keys",
        "ORDERSAGA_JWT_PUBLIC_KEYS lacks the public key of ORDERSAGA_JWT_PRIVATE_KEY",
    ),
    "no database named": (
        lambda _, __: {"order_dsn": None},
        "order",
        "settings",
        "ORDERSAGA_ORDER_DSN is not set. It is: Database of the order service.",
    ),
}


async def test_nothing_is_wrong_with_the_embedded_stack(client: StackClient) -> None:
    findings = await look(client.stack.settings, [])

    assert [finding for finding in findings if finding.state is not State.OK] == []
    assert {finding.part for finding in findings} == {*PARTS, "installation"}


async def test_a_task_queue_that_no_order_worker_serves_is_named(client: StackClient) -> None:
    changed = client.stack.settings.model_copy(update={"temporal_task_queue": "elsewhere"})

    findings = await look(changed, ["order-worker"])

    [unserved] = [finding for finding in findings if finding.check == "workers"]
    assert unserved.state is State.ADVICE
    assert "asks for tasks of elsewhere and elsewhere-payments" in unserved.text


async def test_what_an_installation_may_have_besides_is_looked_at_when_it_is_named(client: StackClient) -> None:
    findings = await look(client.stack.settings, ["codec-server"])

    assert {(finding.check, finding.state) for finding in findings} == {
        *(("settings", State.OK), ("certificate", State.OK), ("user", State.OK)),
    }


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_broken_is_named_with_what_mends_it_and_nothing_else_is(
    client: StackClient, what: str, tmp_path: Path
) -> None:
    change, part, check, text = BROKEN[what]
    settings = client.stack.settings
    broken = settings.model_copy(update=dict(change(settings, tmp_path)))

    [wrong] = [finding for finding in await look(broken, [part]) if finding.state is not State.OK]

    assert (wrong.part, wrong.check, wrong.state) == (part, check, State.WRONG)
    assert text in wrong.text


async def test_a_role_that_may_do_too_much_is_advised_against(client: StackClient) -> None:
    settings = client.stack.settings
    as_owner = settings.model_copy(update={"order_dsn": settings.owner_dsns["order"]})

    [advice] = [finding for finding in await look(as_owner, ["installation"]) if finding.state is not State.OK]

    assert (advice.check, advice.state) == ("rights in database order", State.ADVICE)
    assert advice.text.endswith("may change tables: name an owner in ORDERSAGA_OWNER_DSNS")


def run(*arguments: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    return ordersaga(*arguments, environment=process_environment(settings, *SETTINGS))


def test_its_exit_code_tells_and_scripts_read_json(client: StackClient) -> None:
    settings = client.stack.settings
    broken = settings.model_copy(update={"smtp_port": 1})

    well, ill, unknown = (
        run("doctor", "--json", "notification", settings=settings),
        run("doctor", "notification", settings=broken),
        run("doctor", "nobody", settings=settings),
    )

    assert (well.returncode, well.stderr) == (0, "")
    assert {Finding(**line).state for line in json.loads(well.stdout)} == {State.OK}
    assert ill.returncode == 1
    assert "wrong    notification: smtp " in ill.stdout
    assert ill.stdout.endswith("7 ok, 1 wrong, 0 could be safer, 0 not looked at\n")
    assert (unknown.returncode, unknown.stdout) == (2, "")


def test_setup_makes_a_namespace_with_all_that_it_needs_and_never_shortens_its_retention(client: StackClient) -> None:
    namespace = f"shop-{new_id()[-12:]}"
    settings = client.stack.settings.model_copy(update={"temporal_namespace": namespace})
    longer = settings.model_copy(update={"temporal_retention": 60 * 86_400.0})

    made = run("setup", "temporal", settings=settings)
    too_short = run("doctor", "order-worker", "installation", settings=longer)
    prolonged = run("setup", "temporal", settings=longer)
    again = run("setup", "temporal", settings=settings)

    assert made.stdout.splitlines() == [
        f"temporal: namespace {namespace} made",
        "temporal: search attributes added: OrderStatus, CustomerId, OrderAttention, OrderTotal",
    ]
    [wrong] = [line for line in too_short.stdout.splitlines() if line.startswith("wrong")]
    assert " ".join(wrong.split()) == (
        f"wrong installation: temporal retention namespace {namespace} forgets workflows 30 days after they closed, "
        "and is to keep them 60 days; run `ordersaga setup temporal`, or "
        f"temporal operator namespace update --namespace {namespace} --retention 1440h"
    )
    assert prolonged.stdout == f"temporal: namespace {namespace} keeps closed workflows 60 days, not 30 days\n"
    assert (again.returncode, again.stdout) == (0, "temporal: nothing to do\n")


def test_an_order_worker_without_its_namespace_is_alive_and_ready_once_that_is_set_up(
    client: StackClient, tmp_path: Path
) -> None:
    settings = client.stack.settings.model_copy(update={"temporal_namespace": f"shop-{new_id()[-12:]}"})
    worker = {
        name: getattr(settings, name)
        for name in SETTINGS["order-worker"]
        if name.startswith(("tls_", "temporal_address", "temporal_namespace")) or name.endswith("_address")
    }
    with served("order-worker", tmp_path, worker) as part:
        part.until(lambda: "temporal" in part.readiness()[1]["problems"])
        status, report = part.readiness()
        assert (status, part.is_alive()) == (503, True)
        assert report["problems"]["temporal"].endswith("run `ordersaga setup temporal`")

        run("setup", "temporal", settings=settings)

        part.until(lambda: part.readiness()[0] == 200)


def test_a_step_that_fails_is_named_and_holds_up_no_other(client: StackClient) -> None:
    settings = client.stack.settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    done = run("setup", "temporal", "kafka", settings=settings)

    assert (done.returncode, done.stdout) == (3, "kafka: nothing to do\n")
    assert done.stderr.startswith("temporal: Temporal: ")


def test_a_step_that_does_not_exist_is_refused_before_anything_is_done(client: StackClient) -> None:
    done = run("setup", "kafka", "topics", settings=client.stack.settings)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "there is no step topics; these are: databases, temporal, kafka, stripe, admin\n"
