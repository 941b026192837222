"""Who may read payloads: admins, known by an access token, or by a cookie that they got for their password.

The temporal command sends a token (`--codec-auth "Bearer …"`), and so does a Web UI whose users log in with tokens of
ours ("pass access token"). For every other Web UI there is a page to sign in at, and a cookie that a browser then sends
("include cross-origin credentials").
"""

from __future__ import annotations

import hmac
import os
import time
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie

from runtime.caller import AUTHORIZATION, Caller, CallerRole, read_bearer
from runtime.tokens import ExpiredToken, InvalidToken, TokenVerifier
from workers.codec.problems import EXPIRED_TOKEN, FORBIDDEN, FOREIGN_ORIGIN, INVALID_TOKEN, MISSING_TOKEN, ProblemError

AnyRequest = Request[Any, Any, Any]

COOKIE: Final = "ordersaga_codec"
_SECRET_BYTES: Final = 32


class Sessions:
    """The cookies of those who signed in: signed, good until they say, and for nothing but this server.

    The secret is this process's own: after a restart everybody signs in again. No cookie carries an access token, for a
    browser sends it to every port of the host.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(_SECRET_BYTES)

    def cookie(self, admin: Caller, *, expires_at: float) -> Cookie:
        """For the admin's browser, until that unix time."""
        claim = f"{int(expires_at)}:{admin.id}".encode()
        value = f"{claim.hex()}.{self._sign(claim)}"
        return Cookie(key=COOKIE, value=value, max_age=max(0, int(expires_at - time.time())), **_ATTRIBUTES)

    def admin_of(self, value: str) -> str | None:
        """The id of the admin whose cookie this is; None for one that is forged, or whose time is over."""
        encoded, _, signature = value.partition(".")
        try:
            claim = bytes.fromhex(encoded)
            is_ours = hmac.compare_digest(signature, self._sign(claim))
            expires_at, _, admin_id = claim.decode().partition(":")
            return admin_id if is_ours and float(expires_at) > time.time() else None
        except ValueError:  # no hexadecimal digits, no text, no number
            return None

    def _sign(self, claim: bytes) -> str:
        return hmac.new(self._secret, claim, sha256).hexdigest()


class Access:
    """Lets admins in.

    Args:
        verifier: of access tokens.
        sessions: who signed in.
        origin: of the Web UI; the only one besides our own whose pages may use a cookie.
    """

    def __init__(self, verifier: TokenVerifier, sessions: Sessions, *, origin: str | None) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._origin = origin

    def require_admin(self, request: AnyRequest) -> None:
        """See that an admin asks.

        Raises:
            ProblemError: somebody else does; 401 or 403.
        """
        if request.headers.get(AUTHORIZATION):
            self.verify_admin(read_bearer(request.headers[AUTHORIZATION]))
        elif self.signed_in(request) is None:
            raise ProblemError(MISSING_TOKEN, f"Sign in at {request.base_url}, or send an admin's access token.")
        elif not is_from(request, self._origin):
            detail = "Pages of this origin may not use the cookie; see ORDERSAGA_CODEC_ORIGIN."
            raise ProblemError(FOREIGN_ORIGIN, detail)

    def verify_admin(self, token: str) -> Caller:
        """The admin whose access token this is.

        Raises:
            ProblemError: it is none, or no admin's.
        """
        try:
            caller = self._verifier.verify(token)
        except ExpiredToken as error:
            raise ProblemError(EXPIRED_TOKEN, str(error)) from None
        except InvalidToken as error:
            raise ProblemError(INVALID_TOKEN, str(error)) from None
        if caller.role is not CallerRole.ADMIN:
            raise ProblemError(FORBIDDEN, f"Role {caller.role.value} may not read payloads; admin may.")
        return caller

    def signed_in(self, request: AnyRequest) -> str | None:
        """The id of the admin whose browser asks; None without a cookie that is good."""
        return self._sessions.admin_of(request.cookies.get(COOKIE, ""))


def is_from(request: AnyRequest, origin: str | None = None) -> bool:
    """Whether a page of ours or of that origin asks, or no page: browsers name the page's origin with each POST."""
    sent = request.headers.get("origin")
    return sent is None or sent == origin or urlsplit(sent).netloc == request.headers.get("host")


def ended_cookie() -> Cookie:
    """Takes the cookie away."""
    return Cookie(key=COOKIE, value="", max_age=0, **_ATTRIBUTES)


_ATTRIBUTES: Final[dict[str, Any]] = {"path": "/", "secure": True, "httponly": True, "samesite": "strict"}
