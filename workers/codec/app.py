"""The codec server's HTTP.

It speaks the protocol of remote codecs (https://docs.temporal.io/codec-server): POST ``/decode`` and ``/encode``, with
``{"payloads": [...]}``, protobuf's JSON, in and out, for admins alone (`workers.codec.access`). Nothing may be cached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Final

import structlog
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from litestar import Litestar, Response, get, post
from litestar.config.cors import CORSConfig
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException
from litestar.types import Message, Scope
from temporalio.api.common.v1 import Payload, Payloads

from runtime.client_address import TrustedProxies
from runtime.limits.limiter import Limiter
from runtime.refusal import Unavailable
from runtime.settings import Settings, SettingsError
from runtime.temporal_codec import UnreadablePayload, payload_codec
from runtime.tokens import TokenVerifier
from workers.codec.access import Access, AnyRequest, Sessions, ended_cookie, is_from
from workers.codec.limits import SignInLimits
from workers.codec.page import sign_in_page, signed_in_page, to_start
from workers.codec.problems import (
    BAD_CREDENTIALS,
    FOREIGN_ORIGIN,
    SERVICE_UNAVAILABLE,
    UNREADABLE_PAYLOADS,
    ProblemError,
    from_http,
    to_response,
)
from workers.codec.users import BadCredentials, SignedIn, Users

log = structlog.stdlib.get_logger(__name__)

Change = Callable[[Sequence[Payload]], Awaitable[Sequence[Payload]]]

_NAMED: Final = ("/{namespace:str}", "")
_JSON: Final = "application/json"


def create_app(settings: Settings, users: Users, limiter: Limiter, *, ended: Container[str] = frozenset()) -> Litestar:
    """The ASGI application; tokens of the `ended` sessions are refused, and the limiter says who may try to sign in.

    Raises:
        SettingsError: there are no keys, or one is none; for payloads, or for access tokens.
    """
    codec = payload_codec(settings)
    if codec is None:
        raise SettingsError("ORDERSAGA_TEMPORAL_PAYLOAD_KEYS is not set, so there is nothing to decode")
    sessions = Sessions()
    verifier = TokenVerifier(settings.required("jwt_public_keys"), ended=ended)
    access = Access(verifier, sessions, origin=settings.codec_origin)
    limits = SignInLimits(limiter, TrustedProxies(settings.trusted_proxies))

    @post([f"{prefix}/decode" for prefix in _NAMED], status_code=200)
    async def decode(request: AnyRequest) -> Response[str]:
        access.require_admin(request)
        return await _changed(request, codec.decode)

    @post([f"{prefix}/encode" for prefix in _NAMED], status_code=200)
    async def encode(request: AnyRequest) -> Response[str]:
        access.require_admin(request)
        return await _changed(request, codec.encode)

    @get("/")
    async def start(request: AnyRequest) -> Response[str]:
        if access.signed_in(request) is None:
            return sign_in_page()
        return signed_in_page(origin=settings.codec_origin)

    @post("/sign-in")
    async def sign_in(request: AnyRequest) -> Response[str]:
        try:
            await limits.take_of_address(request)
            _refuse_foreign_pages(request)
            form = await request.form() if request.content_type[0] == RequestEncodingType.URL_ENCODED else {}
            email = str(form.get("email", ""))
            await limits.take_of_account(request, email)
            signed_in = await _sign_in(users, email=email, password=str(form.get("password", "")))
            await limits.note(request, email)
            admin = access.verify_admin(signed_in.token)
        except ProblemError as problem:
            error = f"{problem.kind.title}. {problem.detail}"
            return sign_in_page(error=error, status=problem.kind.status, retry_after=problem.retry_after)
        log.info("codec.signed_in", admin=admin.id)
        return to_start(sessions.cookie(admin, expires_at=signed_in.expires_at))

    @post("/sign-out")
    async def sign_out(request: AnyRequest) -> Response[str]:
        _refuse_foreign_pages(request)
        return to_start(ended_cookie())

    return Litestar(
        route_handlers=[decode, encode, start, sign_in, sign_out],
        cors_config=CORSConfig(
            allow_origins=[settings.codec_origin] if settings.codec_origin else [],
            allow_methods=["POST"],
            allow_headers=["authorization", "content-type", "x-namespace"],
            allow_credentials=True,
        ),
        before_send=[_never_cache],
        exception_handlers={ProblemError: to_response, HTTPException: from_http},
        openapi_config=None,
        logging_config=None,
    )


async def _never_cache(message: Message, _: Scope) -> None:
    if message["type"] == "http.response.start":
        MutableScopeHeaders.from_message(message)["Cache-Control"] = "no-store"


def _refuse_foreign_pages(request: AnyRequest) -> None:
    if not is_from(request):
        raise ProblemError(FOREIGN_ORIGIN, "Sign in, and out, at the page of this server.")


async def _sign_in(users: Users, *, email: str, password: str) -> SignedIn:
    try:
        return await users.sign_in(email=email, password=password)
    except BadCredentials:
        raise ProblemError(BAD_CREDENTIALS, "Try again.") from None
    except Unavailable as away:
        log.warning("codec.user_service_away", problem=str(away))
        raise ProblemError(SERVICE_UNAVAILABLE, "Try again in a moment.") from None


async def _changed(request: AnyRequest, change: Change) -> Response[str]:
    try:
        asked = Parse(await request.body(), Payloads())
        changed = await change(asked.payloads)
    except (ParseError, UnicodeDecodeError, UnreadablePayload) as error:
        raise ProblemError(UNREADABLE_PAYLOADS, str(error)) from None
    return Response(MessageToJson(Payloads(payloads=changed)), media_type=_JSON)
