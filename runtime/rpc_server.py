"""Serving gRPC: who may call, health, reflection, error mapping, and handlers that finish what they began."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection
from grpc_status import rpc_status

from runtime.caller import set_current_caller
from runtime.deadline import CallerGone, has_begun, set_caller_gone, set_time_left, time_left
from runtime.ended_sessions import EndedSessions, ended_sessions_of
from runtime.health import Checks, wait_for_needs
from runtime.identity import Credentials, Part
from runtime.measuring import Measurement
from runtime.metrics import RPC_SECONDS, SHED
from runtime.permissions import OF_GRPC_ITSELF, Permissions
from runtime.process import Lifecycle
from runtime.refusal import InvalidArgument, Refused, Shed, Unavailable, to_shed_status, to_status
from runtime.rpc_tracing import called
from runtime.settings import Settings, SettingsError
from runtime.tokens import TokenVerifier
from runtime.tracing import note_order

log = structlog.stdlib.get_logger(__name__)

Handler = Callable[[Any, Any], Awaitable[Any]]

_LONGEST_CALL_MS: Final = 60_000
"""What a call on a connection that is to end gets; the longest waits half as long for an order to move."""
_FAREWELL: Final = 0.2
"""What callers get to hear that a server stops, seconds. What is under way to it then, gRPC answers with CANCELLED."""
MOST_CALLS: Final = 4_000
"""Most of them wait for an order to move."""
_QUEUE: Final = 10_000
"""Calls that may wait to be taken up. Past a thousand gRPC would answer CANCELLED to some of them, drawn by lot."""
_RETRY_AFTER: Final = (1.0, 3.0)
"""Seconds after which a call that was turned away may come again, drawn for each."""
_GONE: Final = "caller_gone"


class ServerError(Exception):
    """The server could not start; the message says why."""


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A service as it is served: `add` is the generated function that registers `servicer` at a server."""

    descriptor: ServiceDescriptor
    servicer: Any
    add: Callable[[Any, grpc.aio.Server], None]

    @property
    def part(self) -> Part:
        """Which part it is: its package is ``ordersaga.<part>.v1``."""
        return Part(self.descriptor.full_name.split(".")[1])


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls in, runs each handler to its end, even when its caller gave up, and maps what it raises to a status.

    grpc.aio cancels a handler when the caller's deadline passes. Half of a write at Stripe is the one thing that must
    not happen then, so the handler runs in a task of its own. Nothing is begun for a caller who has gone by then, nor
    for a call beyond `most_calls` at a time. Who is turned away so is told, by google.rpc.RetryInfo, that nothing was
    begun, and when to come again.
    """

    def __init__(self, permissions: Permissions, *, most_calls: int = MOST_CALLS) -> None:
        self._permissions = permissions
        self._most_calls = most_calls
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        found = await continuation(handler_call_details)
        if found is None or found.unary_unary is None:
            return found
        # the request is parsed in here: gRPC would answer UNKNOWN, with a traceback in the log, to what is no protobuf
        return grpc.unary_unary_rpc_method_handler(
            called(
                self.wrap(found.unary_unary, handler_call_details.method, found.request_deserializer),
                handler_call_details.method,
            ),
            request_deserializer=None,
            response_serializer=found.response_serializer,
        )

    async def drain(self, grace: float) -> None:
        """Wait for handlers whose callers have gone, `grace` seconds at most."""
        if self._running and grace > 0:
            await asyncio.wait(self._running, timeout=grace)

    def wrap(self, handler: Any, method: str, parse: Callable[[bytes], Any] | None) -> Handler:
        """The handler of a unary call as it is served."""

        async def handle(body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            set_time_left(context.time_remaining())
            began, code = perf_counter(), grpc.StatusCode.OK
            try:
                set_current_caller(self._permissions.identify(method, context))
                self._check_room(method)
                task = asyncio.ensure_future(handler(_parse(parse, body), context))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                return await asyncio.shield(task)
            except Refused as refused:
                code = refused.code
                await context.abort_with_status(rpc_status.to_status(to_status(refused)))
            except (Shed, CallerGone) as problem:
                code = grpc.StatusCode.UNAVAILABLE
                _count_shed(problem)
                await _abort_unbegun(context, problem)
            except Unavailable as problem:
                code = grpc.StatusCode.UNAVAILABLE
                log.warning("rpc.unavailable", method=method, problem=str(problem))
                if not has_begun():
                    await _abort_unbegun(context, problem)
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                set_caller_gone()
                task.add_done_callback(lambda done: _log_late_failure(done, method))
                raise
            except Exception:  # the border of the service: the caller gets no inner text, the log has it all
                code = grpc.StatusCode.INTERNAL
                log.exception("rpc.failed", method=method)
                await context.abort(code, "internal error; the service's log has it")
            finally:
                RPC_SECONDS.labels(method, code.name).observe(perf_counter() - began)

        return handle

    def _check_room(self, method: str) -> None:
        """See that there is somebody to answer, and room to do it.

        Raises:
            CallerGone: the call was not taken up before its deadline.
            Shed: too many calls are being answered; what gRPC itself is asked, such as health, is none of them.
        """
        left = time_left()
        if left is not None and left <= 0:
            raise CallerGone
        if len(self._running) >= self._most_calls and not method.startswith(OF_GRPC_ITSELF):
            raise Shed(f"{len(self._running)} calls are being answered: too many callers", why="calls")


def _count_shed(problem: Shed | CallerGone) -> None:
    """Note that a call was turned away before anything was begun for it."""
    SHED.labels(problem.why if isinstance(problem, Shed) else _GONE).inc()


async def _abort_unbegun(context: grpc.aio.ServicerContext[Any, Any], problem: Unavailable) -> None:
    """Say that nothing was begun, and when to come again: not all at once."""
    retry_after = problem.retry_after if isinstance(problem, Shed) else None
    if retry_after is None:
        retry_after = random.uniform(*_RETRY_AFTER)  # noqa: S311 - no secret
    status = to_shed_status(problem, retry_after=retry_after)
    await context.abort_with_status(rpc_status.to_status(status))


def _parse(parse: Callable[[bytes], Any] | None, body: bytes) -> Any:
    try:
        request = body if parse is None else parse(body)
    except DecodeError:
        raise InvalidArgument("the request is no message of this method's type") from None
    note_order(request)
    return request


def _log_late_failure(task: asyncio.Task[Any], method: str) -> None:
    error = None if task.cancelled() else task.exception()
    if isinstance(error, (Shed, CallerGone)):
        _count_shed(error)
    elif isinstance(error, Unavailable):
        log.warning("rpc.unavailable", method=method, problem=str(error))
    elif error is not None and not isinstance(error, Refused):
        log.error("rpc.failed_late", method=method, exc_info=error)


class RpcServer:
    """A gRPC server over mutual TLS, with health; use as an async context manager.

    Args:
        address: host:port to bind; port 0 takes a free one, see `port`.
        services: what it serves.
        credentials: of its part.
        verifier: of users' tokens.
        grace: what running calls get to end at a stop, seconds.
        most_calls: calls that are being answered at a time; the next one is turned away.
        connection_age: after which a connection is to be made anew, seconds: so callers see new addresses of a name.
        reflection: whether its methods can be asked for.

    Raises:
        UndeclaredMethod: a method says of nobody that they may call it.
    """

    def __init__(
        self,
        address: str,
        services: Sequence[GrpcService],
        *,
        credentials: Credentials,
        verifier: TokenVerifier,
        grace: float,
        most_calls: int = MOST_CALLS,
        connection_age: float = 30,
        reflection: bool = False,
    ) -> None:
        self._address = address
        self._credentials = credentials
        self._grace = grace
        permissions = Permissions([(service.descriptor, service.servicer) for service in services], verifier)
        self._interceptor = CallInterceptor(permissions, most_calls=most_calls)
        self._server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.so_reuseport", 0),  # else two processes could share a port in silence
                ("grpc.server.max_pending_requests", _QUEUE),
                ("grpc.server.max_pending_requests_hard_limit", _QUEUE),
                ("grpc.max_connection_age_ms", int(connection_age * 1_000)),
                ("grpc.max_connection_age_grace_ms", _LONGEST_CALL_MS),
            ],
        )
        for service in services:
            service.add(service.servicer, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.descriptor.full_name for service in services]
        if reflection:
            grpc_reflection.enable_server_reflection(
                (*names, health.SERVICE_NAME, grpc_reflection.SERVICE_NAME), self._server
            )
        self._services = ("", *names)
        self.port = 0

    def bind(self) -> None:
        """Take the port; done by entering, too.

        Raises:
            ServerError: it is taken.
        """
        try:
            self.port = self._server.add_secure_port(self._address, self._credentials.for_server())
        except RuntimeError:
            raise ServerError(f"cannot listen on {self._address}: is the port taken?") from None

    async def __aenter__(self) -> RpcServer:
        if not self.port:
            self.bind()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return self

    async def say_farewell(self) -> None:
        """Let callers go elsewhere, before it stops: calls that still come are answered."""
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(_FAREWELL)

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        await self._server.stop(self._grace)
        await self._interceptor.drain(deadline - loop.time())


async def serve(
    settings: Settings,
    lifecycle: Lifecycle,
    service: GrpcService,
    *,
    on_call: GrpcService,
    checks: Checks,
    beside: Sequence[GrpcService] = (),
    measurements: Sequence[Measurement] = (),
    background: Sequence[Callable[[], Awaitable[object]]] = (),
    ended_sessions: EndedSessions | None = None,
) -> None:
    """Serve until the process stops: the last line of every service's `run`.

    It is ready once it has what it needs by the `checks`. Beside it is served what people on call ask of it, and what
    else is `beside` it.
    Its metrics include the `measurements`.
    What runs in the `background` runs as long, and is cancelled when no call is being answered any more; it has to end
    what it is at before it lets the cancellation through. If it fails, so does the service.
    Users' tokens are refused whose session is among the `ended_sessions`: those that the user service tells, where none
    are given.

    Raises:
        SettingsError: there is no certificate for the part, or no key that verifies tokens, or its port is taken.
    """
    setting = f"{service.part.value}_listen"
    async with AsyncExitStack() as stack:
        if ended_sessions is None:
            ended_sessions = await stack.enter_async_context(ended_sessions_of(settings, service.part))
        server = RpcServer(
            getattr(settings, setting),
            [service, on_call, *beside],
            credentials=Credentials.of(settings, service.part),
            verifier=TokenVerifier(settings.required("jwt_public_keys"), ended=ended_sessions),
            grace=settings.shutdown_grace,
            most_calls=settings.grpc_most_calls,
            connection_age=settings.grpc_connection_age,
            reflection=settings.grpc_reflection,
        )
        try:
            server.bind()
        except ServerError as error:
            raise SettingsError(f"ORDERSAGA_{setting.upper()}: {error}") from None
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = [group.create_task(_run(work)) for work in (*background, ended_sessions.follow)]
        lifecycle.health.watch(checks)
        lifecycle.measurements.watch(measurements)
        async with server:
            if await wait_for_needs(service.part, checks, lifecycle.stopping):
                lifecycle.ready()
            await lifecycle.stopping.wait()
            await server.say_farewell()  # no sooner: who takes over may have come back just before this one drained
        for task in running:
            task.cancel()


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()
