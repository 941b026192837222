"""compose/prepare.sh makes certificates and secrets that the parts, PostgreSQL and Temporal take."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml
from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier, load_pem_x509_certificates
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.serve import OPTIONAL, PARTS
from cli.setup import databases as database_setup
from migrations.runner import SERVICES
from runtime.identity import Credentials, Part
from runtime.kafka_connection import kafka_options
from runtime.settings import Settings
from runtime.temporal_codec import payload_codec
from runtime.tokens import read_private_key, to_jwk_set
from sandbox.postgres.databases import READERS
from sandbox.postgres.temporary import temporary_postgres
from tests.support.compose import COMPOSE, DEPLOY
from tests.support.identities import authority
from tests.support.programs import needed

pytestmark = [pytest.mark.more, pytest.mark.needs("openssl")]

STRIPE: Final = {"STRIPE_API_KEY": "sk_test_key", "STRIPE_WEBHOOK_SECRET": "whsec_secret"}


def prepare(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    needed("openssl")
    others = {name: value for name, value in os.environ.items() if name not in STRIPE}
    return subprocess.run(
        ["sh", DEPLOY / "compose" / "prepare.sh", folder],
        env={**others, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    done = prepare(folder, **STRIPE)
    assert done.returncode == 0, done.stderr
    return folder


def variables(prepared: Path, service: str) -> Iterator[tuple[str, str]]:
    """The environment of a container, with the secrets where they were made."""
    environment: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][service][
        "environment"
    ]
    [public_keys] = re.findall(r"^ORDERSAGA_JWT_PUBLIC_KEYS='(.*)'$", (prepared / ".env").read_text())
    for name, value in environment.items():
        value = re.sub(r"\$\{ORDERSAGA_JWT_PUBLIC_KEYS:[^}]*\}", lambda _: public_keys, value)
        value = re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", value)
        value = value.replace("/etc/ordersaga", str(DEPLOY / "compose"))
        yield name, value.replace("/run/secrets", str(prepared / "secrets"))


@pytest.mark.parametrize("part", [*PARTS, *OPTIONAL])
def test_every_part_is_given_settings_that_fit(prepared: Path, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(prepared, part):
        monkeypatch.setenv(name, value)

    settings = Settings.load()

    if part in list(Part):
        Credentials.of(settings, Part(part))
    payload_codec(settings)
    if settings.kafka_ca_file is not None:
        assert kafka_options(settings)["ssl_context"]


def test_the_public_key_is_that_of_the_private_one(prepared: Path) -> None:
    private = (prepared / "secrets" / "jwt_private_key").read_text()
    settings = dict(variables(prepared, "gateway"))

    assert json.loads(settings["ORDERSAGA_JWT_PUBLIC_KEYS"]) == json.loads(
        to_jwk_set(read_private_key(private, name="jwt_private_key").public_key())
    )


def test_every_secret_of_the_compose_file_is_made(prepared: Path) -> None:
    assert COMPOSE["secrets"].keys() <= {path.name for path in (prepared / "secrets").iterdir()}
    assert (prepared / "secrets").stat().st_mode & 0o077 == 0


def test_what_is_there_is_kept_and_what_soon_ends_is_made_again_in_its_place(tmp_path: Path) -> None:
    assert prepare(tmp_path, **STRIPE).returncode == 0
    secrets = tmp_path / "secrets"
    certificate, key = authority().issue(Part.USER, life=timedelta(days=29))
    (secrets / "user.crt").write_bytes(certificate)
    (secrets / "user.key").write_bytes(key)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in secrets.iterdir()}

    assert prepare(tmp_path).returncode == 0

    after = {path: (path.stat().st_ino, path.read_bytes()) for path in secrets.iterdir()}
    assert {path.name for path in after if after[path] != before[path]} == {"user.crt", "user.key"}
    assert [path.name for path in after if after[path][0] != before[path][0]] == []
    renewed = Credentials(
        Part.USER, ca=secrets / "parts-ca.crt", certificate=secrets / "user.crt", key=secrets / "user.key"
    )
    assert renewed.pem.expires_at > datetime.now(UTC) + timedelta(days=80)


def test_without_stripes_secrets_it_says_what_is_missing(tmp_path: Path) -> None:
    done = prepare(tmp_path, STRIPE_API_KEY="sk_test_key")

    assert done.returncode == 2
    assert "STRIPE_WEBHOOK_SECRET" in done.stderr


async def test_the_roles_of_postgresql_can_do_their_work_and_no_more(prepared: Path) -> None:
    async with temporary_postgres() as databases:
        remove_the_embedded_stacks_own(databases.admin)
        here = conninfo_to_dict(databases.services["user"])
        execute_all(databases.admin, (prepared / "secrets" / "postgres-init.sql").read_text())

        def moved(dsn: str) -> str:
            """The DSN, on this server, which has no TLS."""
            target = conninfo_to_dict(dsn)
            return (
                f"postgresql://{target['user']}:{target['password']}@{here['host']}:{here['port']}/{target['dbname']}"
            )

        def moved_all(name: str) -> dict[str, Any]:
            return {service: moved(dsn) for service, dsn in json.loads(secret(prepared, name)).items()}

        services = {f"{service}_dsn": moved(secret(prepared, f"{service}_dsn")) for service in SERVICES}
        settings = Settings(**services, owner_dsns=moved_all("owner_dsns"))  # type: ignore[arg-type]  # they are parsed
        assert list(database_setup.set_up(settings))[-1].startswith("up to date")

        for service, dsn in moved_all("relay_dsns").items():
            with psycopg.connect(dsn) as connection:
                connection.execute("SELECT count(*) FROM outbox")
            with psycopg.connect(services[f"{service}_dsn"]) as connection:
                connection.execute("SELECT count(*) FROM outbox")
        with psycopg.connect(services["user_dsn"]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE something ()")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(make_conninfo(services["user_dsn"], dbname="ordersaga_payment"))


def secret(prepared: Path, name: str) -> str:
    return (prepared / "secrets" / name).read_text().strip()


def remove_the_embedded_stacks_own(admin: str) -> None:
    """Databases and roles, which have the same names."""
    with psycopg.connect(admin, autocommit=True) as connection:
        for service in SERVICES:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(f"ordersaga_{service}")))
        for role in [*READERS, *(f"ordersaga_{service}{suffix}" for service in SERVICES for suffix in ("", "_owner"))]:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def execute_all(admin: str, script: str) -> None:
    """Each line on its own: no database is made in a transaction."""
    with psycopg.connect(admin, autocommit=True) as connection:
        for statement in script.splitlines():
            connection.execute(statement.encode())


def test_each_operator_gets_a_certificate_with_their_name(tmp_path: Path) -> None:
    assert prepare(tmp_path, **STRIPE, OPERATORS="ada grace").returncode == 0
    secrets = tmp_path / "secrets"

    for name in ("ada", "grace"):
        certificate, key = (secrets / f"operator-{name}.{suffix}" for suffix in ("crt", "key"))
        Credentials(Part.OPERATOR, ca=secrets / "parts-ca.crt", certificate=certificate, key=key)
        [made] = load_pem_x509_certificates(certificate.read_bytes())
        names = made.extensions.get_extension_for_class(SubjectAlternativeName).value
        assert names.get_values_for_type(UniformResourceIdentifier) == [f"spiffe://ordersaga/operator/{name}"]
