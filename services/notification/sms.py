"""Sending an SMS by Twilio, with Twilio's own client.

Twilio has no idempotency keys for messages: an SMS whose answer was lost is sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from runtime.settings import Settings
from services.notification.errors import MessageDelayed, MessageRefused
from services.notification.messenger import Message

_SENDER_FAULTS: Final = frozenset({21212, 21603, 21606, 21659, 21660})
"""Twilio's codes for a From that is missing, malformed or not the account's: the setting's fault, not the message's."""


class _Transport(AsyncHttpClient):  # type: ignore[misc]  # twilio ships no types
    """Twilio's calls over httpx: with a limit, which Twilio's own async transport takes and ignores (9.13), and to
    another server where `api_base` names one."""

    def __init__(self, *, api_base: str | None, timeout: float) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self._api_base = api_base
        self._http = httpx.AsyncClient(timeout=timeout)

    async def request(
        self,
        method: str,
        uri: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: object,
    ) -> Response:
        url = uri if self._api_base is None else self._api_base.rstrip("/") + urlsplit(uri).path
        answer = await self._http.request(method, url, params=params, data=data, headers=headers, auth=auth)
        return Response(answer.status_code, answer.text, answer.headers)

    async def close(self) -> None:
        await self._http.aclose()


class TwilioSms:
    """SMS over one Twilio account; `timeout` in seconds, `api_base` None for Twilio itself."""

    def __init__(self, *, account_sid: str, auth_token: str, sender: str, api_base: str | None, timeout: float) -> None:
        self._transport = _Transport(api_base=api_base, timeout=timeout)
        self._client = Client(account_sid, auth_token, http_client=self._transport)
        self._sender = sender

    @classmethod
    def of(cls, settings: Settings) -> TwilioSms | None:
        """As the settings say; None when they name no account.

        Raises:
            SettingsError: they name an account, and not the rest.
        """
        if settings.twilio_account_sid is None:
            return None
        return cls(
            account_sid=settings.twilio_account_sid,
            auth_token=settings.required("twilio_auth_token"),
            sender=settings.required("twilio_sender"),
            api_base=settings.twilio_api_base,
            timeout=settings.twilio_timeout,
        )

    async def send(self, message: Message) -> None:
        """See `Messenger`. Twilio has queued the message when this returns."""
        try:
            await self._client.messages.create_async(
                to=message.recipient.address, from_=self._sender, body=message.text
            )
        except (TwilioRestException, TwilioServiceException) as error:
            raise _error_of(status=error.status, code=error.code) from None
        except (httpx.HTTPError, ValueError) as error:  # ValueError: an answer that is not JSON
            raise MessageDelayed(type(error).__name__) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()


def _error_of(*, status: int, code: int) -> MessageDelayed | MessageRefused:
    """A 400 is about the message; what else fails, a wrong login included, is not its fault."""
    kind = MessageRefused if status == 400 and code not in _SENDER_FAULTS else MessageDelayed
    return kind(f"Twilio {status} {code}")
