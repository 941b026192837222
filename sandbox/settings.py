"""The settings of the embedded stack alone: its ports, and what its Stripe double and its mail sink read.

Each is read from the environment as ``ORDERSAGA_SANDBOX_<NAME>``; what the product's components read is in
``runtime.settings``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as NotParsedError

from runtime.settings import Port, SettingsError, not_parsed
from sandbox.external import External

PREFIX: Final = "ORDERSAGA_SANDBOX_"


def port_setting(listener: str) -> str:
    """The name of the setting that moves a listener to another port."""
    return f"{PREFIX}{listener.upper()}_PORT"


class SandboxSettings(BaseSettings):
    """Settings of the embedded stack."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    # -- Ports of `make up`; demo, tests and bench take free ones ---------------------------------------------------
    gateway_port: Port = Field(default=8080, description="The HTTP gateway.")
    order_port: Port = Field(default=50051, description="Order service.")
    payment_port: Port = Field(default=50052, description="Payment service.")
    notification_port: Port = Field(default=50053, description="Notification service.")
    inventory_port: Port = Field(default=50054, description="Inventory service.")
    product_port: Port = Field(default=50055, description="Product service.")
    user_port: Port = Field(default=50056, description="User service.")
    temporal_port: Port | None = Field(default=None, description="Temporal; 7233 by temporal-dev.yaml.")
    temporal_ui_port: Port | None = Field(default=None, description="Temporal's Web UI; 8233 by temporal-dev.yaml.")
    kafka_port: Port = Field(default=9092, description="The Kafka broker.")
    postgres_port: Port = Field(default=5433, description="PostgreSQL.")
    stripe_port: Port = Field(default=12111, description="The Stripe double.")
    smtp_port: Port = Field(default=1025, description="The SMTP sink.")
    mailbox_port: Port = Field(default=8025, description="The mailbox page and its JSON.")

    external: list[External] = Field(
        default=[],
        description="JSON array: servers of `make up` that somebody else runs, as the product's settings say where.",
    )

    # -- Stripe double ----------------------------------------------------------------------------------------------
    stripe_folder: Path = Field(default=Path("var/stripe"), description="Where the Stripe double keeps its objects.")
    stripe_webhook_url: str = Field(
        default="http://127.0.0.1:8080/webhooks/stripe", description="Endpoint that receives the double's events."
    )
    stripe_webhook_events: list[str] = Field(
        default=["*"], min_length=1, description="JSON array: types of event that the endpoint receives; * for all."
    )

    # -- Mail sink --------------------------------------------------------------------------------------------------
    mail_folder: Path = Field(default=Path("var/mail"), description="Where received mails are kept as .eml files.")

    @classmethod
    def load(cls) -> SandboxSettings:
        """Read the environment.

        Raises:
            SettingsError: with one line per setting that does not fit.
        """
        try:
            return cls()
        except ValidationError as error:
            lines = [
                f"{PREFIX}{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in error.errors()
            ]
            raise SettingsError("\n".join(lines)) from None
        except NotParsedError as error:
            raise SettingsError(not_parsed(PREFIX, error)) from None
