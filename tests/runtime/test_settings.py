"""Settings from the environment: empty ones are not set, secrets may be in files, and what does not fit is named."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

from domain.rate_limits import Limit, Rate
from runtime.settings import Settings, SettingsError


def test_an_empty_setting_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_STRIPE_WEBHOOK_SECRET", "whsec_1")
    monkeypatch.setenv("ORDERSAGA_STRIPE_WEBHOOK_SECRET_PREVIOUS", "")
    monkeypatch.setenv("ORDERSAGA_GATEWAY_PORT", "")

    settings = Settings.load()

    assert settings.stripe_webhook_secrets == ("whsec_1",)
    assert settings.gateway_port == 8080


@pytest.mark.parametrize("content", ["sk_test_1", "sk_test_1\n"])
def test_a_secret_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "key").write_text(content)
    monkeypatch.setenv("ORDERSAGA_STRIPE_API_KEY_FILE", str(tmp_path / "key"))

    assert Settings.load().stripe_api_key == SecretStr("sk_test_1")


def test_secrets_by_service_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dsns").write_text('{"order": "postgresql://relay@orders/order"}')
    monkeypatch.setenv("ORDERSAGA_RELAY_DSNS_FILE", str(tmp_path / "dsns"))

    assert Settings.load().relay_dsns == {"order": SecretStr("postgresql://relay@orders/order")}


def test_a_secret_that_is_set_twice_or_whose_file_is_no_good_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    monkeypatch.setenv("ORDERSAGA_STRIPE_API_KEY_FILE", str(path))
    with pytest.raises(SettingsError, match=r"ORDERSAGA_STRIPE_API_KEY_FILE: \S+ cannot be read: No such file"):
        Settings.load()

    path.write_text("\n")
    with pytest.raises(SettingsError, match=r"ORDERSAGA_STRIPE_API_KEY_FILE: \S+ is empty"):
        Settings.load()

    path.write_text("sk_test_1")
    monkeypatch.setenv("ORDERSAGA_STRIPE_API_KEY", "sk_test_2")
    with pytest.raises(SettingsError, match="ORDERSAGA_STRIPE_API_KEY_FILE: ORDERSAGA_STRIPE_API_KEY is set, too"):
        Settings.load()


def test_only_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "port").write_text("1")
    monkeypatch.setenv("ORDERSAGA_GATEWAY_PORT_FILE", str(tmp_path / "port"))

    assert Settings.load().gateway_port == 8080


@pytest.mark.parametrize("address", ["", "order", "order:50051,", "order:50051 other:50051", "order:x"])
def test_a_call_address_names_hosts_with_their_ports(address: str) -> None:
    with pytest.raises(ValueError, match="order_address"):
        Settings(order_address=address)


@pytest.mark.parametrize(("name", "value"), [("STRIPE_WEBHOOK_SECRET_PREVIOUS", " "), ("RELAY_DSNS", '{"order": ""}')])
def test_no_secret_is_blank(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ORDERSAGA_{name}", value)

    with pytest.raises(SettingsError, match=f"ORDERSAGA_{name}: .*a secret must not be blank"):
        Settings.load()


def test_proxies_and_limits_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERSAGA_TRUSTED_PROXIES", '["10.0.0.0/8", "fd00::/8"]')
    monkeypatch.setenv("ORDERSAGA_RATE_LIMITS", '{"orders": "60/60", "reads": null}')

    settings = Settings.load()

    assert settings.trusted_proxies == [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
    assert settings.rates[Limit.ORDERS] == Rate(60, 60)
    assert Limit.READS not in settings.rates


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RATE_LIMITS", '{"order": "60/60"}', "order is no limit; there are requests, "),
        ("RATE_LIMITS", '{"orders": "60"}', "orders: must be count/seconds, for example 30/60"),
        ("TRUSTED_PROXIES", '["10.0.0.1/8"]', "TRUSTED_PROXIES_0"),
        ("TRUSTED_PROXIES", "10.0.0.0/8", "must be JSON"),
        ("HSTS_MAX_AGE", "-1", "greater than or equal to 0"),
    ],
)
def test_a_setting_of_the_edge_that_does_not_fit_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(f"ORDERSAGA_{name}", value)

    with pytest.raises(SettingsError, match=f"ORDERSAGA_{name}") as caught:
        Settings.load()

    assert problem in str(caught.value)
