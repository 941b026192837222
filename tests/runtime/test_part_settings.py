"""Every setting is somebody's, and every part's settings are settings."""

from __future__ import annotations

from cli.serve import OPTIONAL, PARTS
from runtime.part_settings import SETTINGS, parts_of
from runtime.settings import Settings


def test_every_setting_is_read_by_somebody() -> None:
    assert [name for name in Settings.model_fields if not list(parts_of(name))] == []


def test_nobody_reads_what_is_no_setting() -> None:
    assert {name for names in SETTINGS.values() for name in names} <= set(Settings.model_fields)


def test_every_part_has_its_settings() -> None:
    assert {*PARTS, *OPTIONAL} <= set(SETTINGS)


def test_secrets_go_to_those_alone_who_need_them() -> None:
    assert list(parts_of("jwt_private_key")) == ["user"]
    assert list(parts_of("stripe_webhook_secret")) == ["payment"]
    assert list(parts_of("smtp_password")) == ["notification"]
    assert list(parts_of("relay_dsns")) == ["relay", "setup databases"]
    assert list(parts_of("owner_dsns")) == ["setup databases"]
    assert list(parts_of("user_dsn")) == ["user", "setup databases", "setup admin"]
