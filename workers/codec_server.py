"""The codec server: shows the Web UI and the temporal command what is in encrypted payloads.

It speaks the protocol of remote codecs (https://docs.temporal.io/codec-server): POST ``/decode`` and ``/encode``, with
``{"payloads": [...]}``, protobuf's JSON, in and out. It asks nobody who they are, so it belongs on loopback, or behind
the proxy that lets people into the Web UI.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from litestar import Litestar, Request, Response, post
from litestar.config.cors import CORSConfig
from temporalio.api.common.v1 import Payload, Payloads

from runtime.http_server import http_server
from runtime.process import Lifecycle
from runtime.settings import Settings, SettingsError
from runtime.temporal_codec import UnreadablePayload, payload_codec

AnyRequest = Request[Any, Any, Any]
Change = Callable[[Sequence[Payload]], Awaitable[Sequence[Payload]]]

_NAMED: Final = ("/{namespace:str}", "")
_JSON: Final = "application/json"


def create_app(settings: Settings) -> Litestar:
    """The ASGI application.

    Raises:
        SettingsError: there are no keys, or one is none.
    """
    codec = payload_codec(settings)
    if codec is None:
        raise SettingsError("ORDERSAGA_TEMPORAL_PAYLOAD_KEYS is not set, so there is nothing to decode")

    @post([f"{prefix}/decode" for prefix in _NAMED], status_code=200)
    async def decode(request: AnyRequest) -> Response[str]:
        return await _answer(request, codec.decode)

    @post([f"{prefix}/encode" for prefix in _NAMED], status_code=200)
    async def encode(request: AnyRequest) -> Response[str]:
        return await _answer(request, codec.encode)

    origins = [settings.codec_origin] if settings.codec_origin else []
    return Litestar(
        route_handlers=[decode, encode],
        cors_config=CORSConfig(
            allow_origins=origins, allow_methods=["POST"], allow_headers=["content-type", "x-namespace"]
        ),
        openapi_config=None,
        logging_config=None,
    )


async def run(settings: Settings, lifecycle: Lifecycle) -> None:
    """Serve until the process stops.

    Raises:
        SettingsError: there are no keys, or the port is taken.
    """
    app, host, port = create_app(settings), settings.codec_host, settings.codec_port
    try:
        async with http_server(app, host=host, port=port, grace=settings.shutdown_grace):
            lifecycle.ready()
            await lifecycle.stopping.wait()
    except OSError as error:
        raise SettingsError(f"ORDERSAGA_CODEC_PORT: cannot listen on {host}:{port}: {error.strerror}") from error


async def _answer(request: AnyRequest, change: Change) -> Response[str]:
    try:
        asked = Parse(await request.body(), Payloads())
        changed = await change(asked.payloads)
    except (ParseError, UnicodeDecodeError, UnreadablePayload) as error:
        return Response(str(error), status_code=400, media_type="text/plain")
    return Response(MessageToJson(Payloads(payloads=changed)), media_type=_JSON)
