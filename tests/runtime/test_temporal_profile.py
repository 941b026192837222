"""Where Temporal is, and how it is reached: by profile, as for its own command, unless a setting says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.service import TLSConfig

from runtime.settings import Settings, SettingsError
from runtime.temporal import connect_options

PROFILES = """
[profile.default]
address = "temporal.example.test:7233"
namespace = "shop"

[profile.cloud]
address = "shop.a1b2c.example.test:7233"
namespace = "shop.a1b2c"
api_key = "key"

[profile.mutual]
address = "temporal.example.test:7233"
[profile.mutual.tls]
server_name = "frontend.example.test"
server_ca_cert_data = "ca"
client_cert_data = "certificate"
client_key_data = "key"
"""


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ADDRESS", "NAMESPACE", "PROFILE", "CONFIG_FILE", "API_KEY", "TLS"):
        monkeypatch.delenv(f"TEMPORAL_{name}", raising=False)
    (tmp_path / "temporal.toml").write_text(PROFILES)
    return tmp_path / "temporal.toml"


@pytest.mark.usefixtures("config_file")
def test_without_a_profile_it_is_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    options = connect_options(Settings())

    assert (options["target_host"], options["namespace"]) == ("127.0.0.1:7233", "default")
    assert not options.get("tls")


def test_the_default_profile_is_taken(config_file: Path) -> None:
    options = connect_options(Settings(temporal_config_file=config_file))

    assert (options["target_host"], options["namespace"]) == ("temporal.example.test:7233", "shop")


def test_a_profile_with_an_api_key_is_encrypted(config_file: Path) -> None:
    options = connect_options(Settings(temporal_config_file=config_file, temporal_profile="cloud"))

    assert options["api_key"] == "key"
    assert options["tls"]


def test_a_profile_brings_a_client_certificate(config_file: Path) -> None:
    options = connect_options(Settings(temporal_config_file=config_file, temporal_profile="mutual"))

    tls = options["tls"]
    assert isinstance(tls, TLSConfig)
    assert (tls.domain, tls.server_root_ca_cert) == ("frontend.example.test", b"ca")
    assert (tls.client_cert, tls.client_private_key) == (b"certificate", b"key")


def test_settings_come_before_the_profile(config_file: Path) -> None:
    settings = Settings(
        temporal_config_file=config_file, temporal_address="127.0.0.1:7777", temporal_namespace="another"
    )

    options = connect_options(settings)

    assert (options["target_host"], options["namespace"]) == ("127.0.0.1:7777", "another")


@pytest.mark.parametrize(
    ("content", "profile", "problem"),
    [
        (None, None, "ORDERSAGA_TEMPORAL_CONFIG_FILE: there is no .*temporal.toml"),
        (PROFILES, "nobody", "ORDERSAGA_TEMPORAL_PROFILE: .*nobody"),
        ("[profile", None, "ORDERSAGA_TEMPORAL_CONFIG_FILE: "),
    ],
)
def test_what_does_not_fit_is_named(config_file: Path, content: str | None, profile: str | None, problem: str) -> None:
    if content is None:
        config_file.unlink()
    else:
        config_file.write_text(content)

    with pytest.raises(SettingsError, match=problem):
        connect_options(Settings(temporal_config_file=config_file, temporal_profile=profile))
