"""Calling a part: over mutual TLS, at every address that it has, and one way to make a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar, cast

import grpc
import grpc.aio

from runtime.caller import Caller
from runtime.deadline import begin_work
from runtime.hosts import is_name
from runtime.identity import Credentials, Part
from runtime.refusal import Unavailable, from_rpc_error, retry_delay
from runtime.rpc_tracing import calling
from runtime.settings import Settings

Request = TypeVar("Request")
Response = TypeVar("Response")
Channels: TypeAlias = Mapping[Part, grpc.aio.Channel]

_REFRESH: Final = 1.0
"""Seconds from one look at the certificate's files to the next."""
_CLOSING: Final = 60.0
"""What calls get to end on connections that were made with an older certificate, seconds."""
_SERVICE_CONFIG: Final = json.dumps(
    {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
)
"""All addresses of a name take turns, but for servers that say of themselves that they will stop."""
_PATIENCE: Final = 2.0
"""What a list of hosts, or a name, gets for one of them to be there, seconds: the last may go before the first is found
again."""
_LOOKUPS: Final = 1.0
"""Seconds from one look-up of a name at which nobody is to the next. gRPC makes none when all that it knows of say that
they will stop, before they do."""
_PAUSE: Final = 0.05
_NO_CONNECTION: Final = ("connections to all backends failing", "errors resolving")
_READINESS: Final = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.IDLE,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
)


class ServiceUnavailable(Unavailable):
    """A call failed for no business reason: the service is away, slow or broken. Its effect is unknown; retry it.

    Attributes:
        service: which one, such as ``user``.
        code: gRPC's.
        message: the service's own words, or gRPC's.
        retry_after: where nothing was begun of what the call was made for, since the service turned it away and no call
            came before it, when to come again, seconds.
    """

    def __init__(self, service: str, code: grpc.StatusCode, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"the {service} service: {code.name}: {message}")
        self.service = service
        self.code = code
        self.message = message
        self.retry_after = retry_after


def open_channel(part: Part, hosts: str, credentials: Credentials) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    """What a generated stub wants: it connects on first use, and is closed with the context.

    Args:
        part: who is called; whoever else answers there is not talked to.
        hosts: host:port[,host:port…].
        credentials: of the part that calls.
    """
    return cast("AbstractAsyncContextManager[grpc.aio.Channel]", _PartChannel(part, hosts, credentials))


@asynccontextmanager
async def open_channels(settings: Settings, caller: Part, *called: Part) -> AsyncIterator[Channels]:
    """A channel to each part that is called, where the settings say that it is; see `open_channel`.

    Args:
        settings: the caller's.
        caller: whose certificate they name.
        called: services.

    Raises:
        SettingsError: the caller has no certificate.
    """
    credentials = Credentials.of(settings, caller)
    async with AsyncExitStack() as stack:
        yield {
            part: await stack.enter_async_context(
                open_channel(part, settings.required(f"{part.value}_address"), credentials)
            )
            for part in called
        }


class _PartChannel:
    """Where a generated stub finds a part: calls go to all of its hosts in turn, but for those that fail.

    A host's name is looked up again whenever a connection ends, which servers see to (`RpcServer`), and calls are
    spread over all of its addresses. With a new certificate new connections are made. An async context manager.

    Attributes:
        is_patient: whether there may be somebody else in a moment, where nobody is: not at one IP address.
    """

    def __init__(self, part: Part, hosts: str, credentials: Credentials) -> None:
        self.part = part
        self._hosts = hosts.split(",")
        self._is_named = any(map(is_name, self._hosts))
        self.is_patient = self._is_named or len(self._hosts) > 1
        self._credentials = credentials
        self._turn = count()
        self._looked_at = self._looked_up_at = monotonic()
        self._generation = 0
        self._connections = self._connect()
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> _PartChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.channel.close()
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool = False,
    ) -> _Method:
        """The method, as a generated stub asks for it."""
        return _Method(self, method, request_serializer, response_deserializer)

    def in_turn(self) -> Sequence[_Connection]:
        """Where the next call goes, and where it may go if it cannot be sent there."""
        if monotonic() - self._looked_at > _REFRESH:
            self._looked_at = monotonic()
            if self._credentials.refresh() != self._generation:
                self._reconnect()
        if len(self._connections) == 1:
            return self._connections
        turn = next(self._turn) % len(self._connections)
        # whoever is not connected is connected meanwhile: a call that went there could only wait, or fail
        return sorted((*self._connections[turn:], *self._connections[:turn]), key=_Connection.readiness)

    def look_up(self) -> None:
        """Nobody was there: see whether names stand for others by now."""
        if self._is_named and monotonic() - self._looked_up_at > _LOOKUPS:
            self._looked_up_at = monotonic()
            self._reconnect()

    def _connect(self) -> Sequence[_Connection]:
        self._generation = self._credentials.refresh()
        credentials = self._credentials.for_channel()
        return [_Connection(host, self.part, credentials) for host in self._hosts]

    def _reconnect(self) -> None:
        old, self._connections = self._connections, self._connect()
        for connection in old:
            closing = asyncio.create_task(connection.channel.close(_CLOSING))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Connection:
    """One host, at all of its addresses."""

    def __init__(self, host: str, part: Part, credentials: grpc.ChannelCredentials) -> None:
        self.channel = grpc.aio.secure_channel(
            host,
            credentials,
            options=[
                ("grpc.ssl_target_name_override", part.server_name),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.dns_min_time_between_resolutions_ms", 1_000),
                ("grpc.service_config", _SERVICE_CONFIG),
            ],
        )
        self.methods: dict[str, Any] = {}

    def readiness(self) -> int:
        """The lower, the better; what is not connected begins to connect."""
        state = self.channel.get_state(try_to_connect=True)
        return _READINESS.index(state) if state in _READINESS else len(_READINESS)


class _Method:
    """A method of a part, called at whichever host has its turn."""

    def __init__(self, channel: _PartChannel, path: str, serialize: Any, deserialize: Any) -> None:
        self._channel = channel
        self.path = path
        self._serialize = serialize
        self._deserialize = deserialize

    @property
    def part(self) -> Part:
        """Who has it."""
        return self._channel.part

    async def __call__(self, request: Any, *, timeout: float, metadata: Any = None) -> Any:  # noqa: ASYNC109 - gRPC's
        began = monotonic()
        ends_at = began + timeout
        while True:
            connections = self._channel.in_turn()
            for connection in connections:
                try:
                    return await self._at(connection)(request, timeout=ends_at - monotonic(), metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    if not _never_sent(error):
                        raise
                    failure = error
            if not self._channel.is_patient or monotonic() + _PAUSE > min(began + _PATIENCE, ends_at):
                raise failure
            self._channel.look_up()
            await asyncio.sleep(_PAUSE)

    def _at(self, connection: _Connection) -> Any:
        method = connection.methods.get(self.path)
        if method is None:
            method = connection.channel.unary_unary(
                self.path, request_serializer=self._serialize, response_deserializer=self._deserialize
            )
            connection.methods[self.path] = method
        return method


def _never_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether the call found no connection to go out on. Then, and only then, it may go to another host as well.

    gRPC says so in words alone, those of its balancer and its resolver; if they change, the call only fails.
    """
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(_NO_CONNECTION)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
    request: Request,
    *,
    caller: Caller,
    deadline: float,
) -> Response:
    """Call `method` for `caller`, waiting `deadline` seconds at most.

    Raises:
        CallRefused: the service refused for a business reason.
        ServiceUnavailable: anything else; whether the call took effect is not known.
        CallerGone: it would be the first thing that is done for a caller of ours, who has gone.
    """
    is_first = begin_work()
    try:
        with calling(method) as context:
            metadata: Any = (*caller.metadata, *context)
            return await method(request, timeout=deadline, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        refused = from_rpc_error(error)
        if refused is not None:
            raise refused from None
        part: str = getattr(method, "part", "called")
        retry_after = retry_delay(error) if is_first else None
        raise ServiceUnavailable(part, error.code(), error.details() or "", retry_after=retry_after) from None
