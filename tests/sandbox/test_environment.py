from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from runtime.identity import Credentials as PartCredentials
from runtime.identity import Part
from runtime.part_settings import SETTINGS
from runtime.settings import Settings, SettingsError
from sandbox.certificates import Certificates
from sandbox.credentials import Credentials
from sandbox.environment import double_environment, process_environment, sandbox_settings, stack_settings, to_shell
from sandbox.folder import StackFolder
from sandbox.ports import Ports
from sandbox.postgres.databases import SERVICES, Databases
from sandbox.settings import SandboxSettings

DSNS = {service: f"postgresql://{service}" for service in SERVICES}
DATABASES = Databases(admin="postgresql://", owners=DSNS, services=DSNS, relay=DSNS, audit=DSNS)


def _settings(tmp_path: Path, ports: Ports) -> Settings:
    credentials = Credentials.load(tmp_path / "secrets.json")
    certificates = Certificates.load(tmp_path / "certificates")
    return stack_settings(
        ports=ports, namespace="default", databases=DATABASES, credentials=credentials, certificates=certificates
    )


def test_a_process_reads_from_its_environment_the_very_settings_it_was_meant_to_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = Ports.free()
    settings = _settings(tmp_path, ports)
    doubles = sandbox_settings(ports=ports, var=tmp_path)
    for name, value in (process_environment(settings, *SETTINGS) | double_environment(settings, doubles)).items():
        monkeypatch.setenv(name, value)

    assert Settings.load() == settings
    assert SandboxSettings.load() == doubles


def test_a_process_gets_no_secret_that_it_has_no_use_for(tmp_path: Path) -> None:
    settings = _settings(tmp_path, Ports.free())

    given = process_environment(settings, "gateway")

    assert "ORDERSAGA_JWT_PUBLIC_KEYS" in given
    assert not {name for name in given if "DSN" in name or "STRIPE" in name or "SMTP" in name or "PRIVATE" in name}


def test_limits_come_from_the_callers_environment_and_addresses_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERSAGA_PAYMENT_ATTEMPTS", "5")
    monkeypatch.setenv("ORDERSAGA_STRIPE_API_KEY", "sk_live_not_for_the_sandbox")
    monkeypatch.setenv("ORDERSAGA_SMTP_TLS", "tls")

    environment = process_environment(_settings(tmp_path, Ports.free()), *SETTINGS)

    assert environment["ORDERSAGA_PAYMENT_ATTEMPTS"] == "5"
    assert environment["ORDERSAGA_STRIPE_API_KEY"].startswith("sk_test_sandbox_")
    assert environment["ORDERSAGA_SMTP_TLS"] == "none"


def test_rate_limits_are_wide_unless_the_caller_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = process_environment(_settings(tmp_path, Ports.free()), "gateway")
    monkeypatch.setenv("ORDERSAGA_RATE_LIMITS", '{"orders": "5/60", "reads": null}')
    monkeypatch.setenv("ORDERSAGA_TRUSTED_PROXIES", '["127.0.0.0/8"]')

    chosen = process_environment(_settings(tmp_path, Ports.free()), "gateway")

    assert json.loads(wide["ORDERSAGA_RATE_LIMITS"])["sign-ups"] == "20000/3600"
    assert json.loads(chosen["ORDERSAGA_RATE_LIMITS"]) == {"orders": "5/60", "reads": None}
    assert json.loads(chosen["ORDERSAGA_TRUSTED_PROXIES"]) == ["127.0.0.0/8"]


def test_a_limit_that_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_PAYMENT_ATTEMPTS", "many")

    with pytest.raises(SettingsError, match="ORDERSAGA_PAYMENT_ATTEMPTS"):
        _settings(tmp_path, Ports.free())


def test_credentials_stay_the_same_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"

    assert Credentials.load(path) == Credentials.load(path)
    assert path.stat().st_mode & 0o077 == 0


def test_free_ports_are_never_given_twice() -> None:
    given = [port for _ in range(5) for port in asdict(Ports.free()).values()]

    assert len(set(given)) == len(given)


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "cli.main", "serve", "shop"], capture_output=True, text=True, check=False
    )

    assert answer.returncode == 2
    assert "'shop'" in answer.stderr
    assert "order-worker" in answer.stderr


def test_secrets_of_a_stack_from_before_there_was_sms_are_still_good(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = json.loads(msgspec.json.encode(Credentials.load(path)))
    del made["twilio_auth_token"]
    path.write_text(json.dumps(made))

    loaded = Credentials.load(path)

    assert loaded.admin_password == made["admin_password"]
    assert loaded.twilio_auth_token


def test_a_shell_that_sources_the_settings_has_each_as_it_was(tmp_path: Path) -> None:
    settings = {
        "ORDERSAGA_A": "two words, a 'quote' and $HOME",
        "ORDERSAGA_PEM": "-----BEGIN-----\nline\n",
        "PATH": "/x",
    }
    file = tmp_path / "environment"
    file.write_text(to_shell(settings))

    sourced = subprocess.run(
        ["bash", "-c", 'set -a; . "$0"; exec env -0', str(file)], capture_output=True, text=True, check=True, env={}
    )

    found = dict(line.split("=", 1) for line in sourced.stdout.split("\0") if line.startswith("ORDERSAGA_"))
    assert found == {name: value for name, value in settings.items() if name != "PATH"}


@pytest.mark.parametrize("lost", ["ca.pem", "user.pem", "user.key"])
def test_certificates_that_do_not_fit_any_more_are_made_again(tmp_path: Path, lost: str) -> None:
    Certificates.load(tmp_path)
    kept = (tmp_path / "order.pem").read_bytes()
    Certificates.load(tmp_path)
    assert (tmp_path / "order.pem").read_bytes() == kept

    (tmp_path / lost).unlink()
    Certificates.load(tmp_path)

    for part in Part:
        PartCredentials.of(_tls(Certificates(tmp_path)), part)


def _tls(made: Certificates) -> Settings:
    return Settings(tls_ca_file=made.ca_file, tls_certificate_file=made.certificate_file, tls_key_file=made.key_file)


def test_nobody_else_looks_into_a_stacks_folder(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path / "var")
    folder.release()

    assert (tmp_path / "var").stat().st_mode & 0o077 == 0
