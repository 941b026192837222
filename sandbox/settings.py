"""The settings that only the embedded stack's own parts read: the Stripe double and the mail sink.

Each is read from the environment as ``ORDERSAGA_SANDBOX_<NAME>``; what the product's parts read is in
``runtime.settings``.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.settings import Port, SettingsError


class SandboxSettings(BaseSettings):
    """Settings of the doubles; each reads only those that it needs."""

    model_config = SettingsConfigDict(env_prefix="ORDERSAGA_SANDBOX_", frozen=True, extra="ignore")

    # -- Stripe double ----------------------------------------------------------------------------------------------
    stripe_port: Port = Field(default=12111, description="Port the Stripe double binds.")
    stripe_folder: Path = Field(default=Path("var/stripe"), description="Where the Stripe double keeps its objects.")
    stripe_webhook_url: str = Field(
        default="http://127.0.0.1:8080/webhooks/stripe", description="Endpoint that receives the double's events."
    )

    # -- Mail sink --------------------------------------------------------------------------------------------------
    smtp_port: Port = Field(default=1025, description="Port the SMTP sink binds.")
    mailbox_port: Port = Field(default=8025, description="Port of the mailbox page and its JSON.")
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
                f"ORDERSAGA_SANDBOX_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
                for fault in error.errors()
            ]
            raise SettingsError("\n".join(lines)) from None
