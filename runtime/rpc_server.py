"""Serving gRPC: health, reflection, error mapping, and handlers that finish what they began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from runtime.caller import set_current_caller
from runtime.deadline import set_caller_gone, set_time_left
from runtime.metrics import RPC_SECONDS
from runtime.process import Lifecycle
from runtime.refusal import Refused, Unavailable, to_status
from runtime.settings import Settings

log = structlog.stdlib.get_logger(__name__)

Handler = Callable[[Any, Any], Awaitable[Any]]

_QUEUE: Final = 10_000
"""Calls that may wait to be taken up. Past a thousand gRPC would answer CANCELLED to some of them, drawn by lot."""


class ServerError(Exception):
    """The server could not start; the message says why."""


class FinishAndMapErrors(grpc.aio.ServerInterceptor):
    """Runs each handler to its end, even when its caller gave up, and turns what it raises into a status.

    grpc.aio cancels a handler when the caller's deadline passes. Half of a write at Stripe is the one thing that must
    not happen then, so the handler runs in a task of its own.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        found = await continuation(handler_call_details)
        if found is None or found.unary_unary is None:
            return found
        return grpc.unary_unary_rpc_method_handler(
            self.wrap(found.unary_unary, handler_call_details.method),
            request_deserializer=found.request_deserializer,
            response_serializer=found.response_serializer,
        )

    async def drain(self, grace: float) -> None:
        """Wait for handlers whose callers have gone, `grace` seconds at most."""
        if self._running and grace > 0:
            await asyncio.wait(self._running, timeout=grace)

    def wrap(self, handler: Any, method: str) -> Handler:
        """The handler of a unary call as it is served."""

        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            set_current_caller(context.invocation_metadata() or ())
            set_time_left(context.time_remaining())
            began, code = perf_counter(), grpc.StatusCode.OK
            task = asyncio.ensure_future(handler(request, context))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await asyncio.shield(task)
            except Refused as refused:
                code = refused.code
                await context.abort_with_status(rpc_status.to_status(to_status(refused)))
            except Unavailable as problem:
                code = grpc.StatusCode.UNAVAILABLE
                log.warning("rpc.unavailable", method=method, problem=str(problem))
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


def _log_late_failure(task: asyncio.Task[Any], method: str) -> None:
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Refused):
        log.error("rpc.failed_late", method=method, exc_info=error)


class RpcServer:
    """A gRPC server with health and reflection; use as an async context manager.

    Args:
        address: host:port to bind; port 0 takes a free one, see `port`.
        services: full protobuf names of what `add` registers.
        add: registers the servicers at the server.
        grace: what running calls get to end at a stop, seconds.
    """

    def __init__(
        self, address: str, *, services: tuple[str, ...], add: Callable[[grpc.aio.Server], None], grace: float
    ) -> None:
        self._address = address
        self._grace = grace
        self._interceptor = FinishAndMapErrors()
        self._server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.so_reuseport", 0),  # else two processes could share a port in silence
                ("grpc.server.max_pending_requests", _QUEUE),
                ("grpc.server.max_pending_requests_hard_limit", _QUEUE),
            ],
        )
        add(self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self._services = ("", *services)
        self.port = 0

    async def __aenter__(self) -> RpcServer:
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise ServerError(f"cannot listen on {self._address}: is the port taken?") from error
        await self._server.start()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._health.enter_graceful_shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        await self._server.stop(self._grace)
        await self._interceptor.drain(deadline - loop.time())


async def serve(
    settings: Settings,
    lifecycle: Lifecycle,
    *,
    address: str,
    services: tuple[str, ...],
    add: Callable[[grpc.aio.Server], None],
    background: Sequence[Callable[[], Awaitable[object]]] = (),
) -> None:
    """Serve until the process stops: the last line of every service's `run`.

    What runs in the `background` runs as long, and is cancelled when no call is being answered any more; it has to end
    what it is at before it lets the cancellation through. If it fails, so does the service.
    """
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_run(work)) for work in background]
        async with RpcServer(address, services=services, add=add, grace=settings.shutdown_grace):
            lifecycle.ready()
            await lifecycle.stopping.wait()
        for task in running:
            task.cancel()


async def _run(work: Callable[[], Awaitable[object]]) -> None:
    await work()
