"""Twilio for one account: the one call that sends an SMS, which ends in the mailbox.

The numbers that Twilio's test credentials refuse are refused here, too
(https://www.twilio.com/docs/iam/test-credentials).
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Final

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from domain.notifications import MAX_SMS, is_phone
from runtime.settings import Settings
from sandbox.mail.mailbox import Mailbox, Message

_API: Final = "2010-04-01"
_REFUSED_NUMBERS: Final = {
    "+15005550001": (21211, "Invalid 'To' Phone Number: +15005550001"),
    "+15005550002": (21612, "The 'To' phone number +15005550002 cannot be reached from this sender"),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region of +15005550003"),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient +15005550004"),
    "+15005550009": (21614, "'To' number +15005550009 is not a valid mobile number"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioAccount:
    """Who may send."""

    sid: str
    auth_token: str

    @classmethod
    def of(cls, settings: Settings) -> TwilioAccount | None:
        """The settings' account, if they have one."""
        if settings.twilio_account_sid is None or settings.twilio_auth_token is None:
            return None
        return cls(sid=settings.twilio_account_sid, auth_token=settings.twilio_auth_token.get_secret_value())

    def accepts(self, authorization: str) -> bool:
        """Whether a request's Authorization header (RFC 7617) is the account's."""
        ours = "Basic " + base64.b64encode(f"{self.sid}:{self.auth_token}".encode()).decode()
        return secrets.compare_digest(authorization.encode(), ours.encode())


def twilio_double(mailbox: Mailbox, account: TwilioAccount) -> HTTPRouteHandler:
    """The handler of ``POST /2010-04-01/Accounts/{sid}/Messages.json``."""

    @post(f"/{_API}/Accounts/{{account_sid:str}}/Messages.json", status_code=201)
    async def send(request: Request[Any, Any, Any], account_sid: FromPath[str]) -> Response[dict[str, Any]]:
        if account_sid != account.sid or not account.accepts(request.headers.get("authorization", "")):
            return _refuse(HTTPStatus.UNAUTHORIZED, 20003, "Authenticate")
        form = await request.form()
        sender, to, text = (str(form.get(name, "")) for name in ("From", "To", "Body"))
        if error := _error(sender=sender, to=to, text=text):
            return _refuse(HTTPStatus.BAD_REQUEST, *error)
        return Response(_to_resource(mailbox.add_sms(sender=sender, to=to, text=text), account_sid), status_code=201)

    return send


def _error(*, sender: str, to: str, text: str) -> tuple[int, str] | None:
    if not to:
        return 21604, "A 'To' phone number is required."
    if not is_phone(to):
        return 21211, f"Invalid 'To' Phone Number: {to}"
    if not sender:
        return 21603, "A 'From' phone number is required."
    if not text.strip():
        return 21602, "Message body is required."
    if len(text) > MAX_SMS:
        return 21617, "The concatenated message body exceeds the 1600 character limit"
    return _REFUSED_NUMBERS.get(to)


def _refuse(status: HTTPStatus, code: int, message: str) -> Response[dict[str, Any]]:
    body = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status.value,
    }
    return Response(body, status_code=status)


def _to_resource(message: Message, account_sid: str) -> dict[str, Any]:
    at = format_datetime(message.received_at)
    return {
        "account_sid": account_sid,
        "api_version": _API,
        "body": message.text,
        "date_created": at,
        "date_sent": None,
        "date_updated": at,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": message.sender,
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": message.message_id,
        "status": "queued",
        "subresource_uris": {},
        "to": message.to[0],
        "uri": f"/{_API}/Accounts/{account_sid}/Messages/{message.message_id}.json",
    }
