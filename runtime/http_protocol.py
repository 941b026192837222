"""One HTTP connection, with bounds: uvicorn has them for neither a request's head nor the time that clients take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from runtime.http_limits import Ending, HttpLimits, Rejection, count_rejected
from runtime.http_room import Phase, Room

_LINGER: Final = 2.0
"""What a client gets to read why it was rejected, before what it still sends would reset the connection, seconds."""


class _Exceeded(Exception):
    """A request is larger than allowed."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.name)
        self.rejection = rejection


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which counts what comes before it is kept, and knows how long each thing may take."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpLimits,
        room: Room,
        rejection_headers: bytes,
        is_draining: Callable[[], bool],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._room = room
        self._rejection_headers = rejection_headers
        self._is_draining = is_draining
        self.phase = Phase.HEAD
        self._ends_at = inf
        self._unread_at = inf
        self._unread_bytes = 0
        self._head_bytes = 0
        """Of this request, as far as the parser has named them."""
        self._unparsed_bytes = 0
        """Since the parser has last made something of what came: the parser keeps them."""
        self._has_parsed = False
        self._is_in_head = False
        self._takes_more = True

    # -- What happens to the connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if self._room.enter(self):
            self._ends_at = self.loop.time() + self._limits.head_timeout
        else:
            self._answer(Rejection.TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._takes_more:
            return
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD, within=self._limits.head_timeout)
        self._unset_keepalive_if_required()
        self._has_parsed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            exceeded = error.__context__
            self._reject(exceeded.rejection if isinstance(exceeded, _Exceeded) else Rejection.MALFORMED)
            return
        except httptools.HttpParserUpgrade:
            pass  # to nothing that we speak: the request is answered as if it had not asked (RFC 9110, section 7.8)
        self._unparsed_bytes = 0 if self._has_parsed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > self._limits.head_bytes:
            self._reject(Rejection.HEAD_TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._note_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_at = inf
        if self.transport.is_closing():
            self._ends_at = self.loop.time() + self._limits.body_timeout

    def shutdown(self) -> None:
        if self.phase is Phase.CLOSING:
            self.transport.abort()
        else:
            super().shutdown()

    # -- What the parser finds --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value) + len(b": \r\n"))
        if len(self.headers) > self._limits.headers:
            raise _Exceeded(Rejection.TOO_MANY_HEADERS)

    def on_headers_complete(self) -> None:
        self._has_parsed = True
        self._is_in_head = False
        super().on_headers_complete()
        if self._is_draining():
            self.cycle.keep_alive = False
        if not self.pipeline:
            self._enter(Phase.BODY, within=self._limits.body_timeout)

    def on_body(self, body: bytes) -> None:
        self._has_parsed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_parsed = True
        super().on_message_complete()
        if self.cycle.response_complete:
            self._enter(Phase.IDLE, within=self._limits.idle_timeout)
        else:
            self._enter(Phase.ANSWER, within=inf)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            raise _Exceeded(Rejection.HEAD_TOO_LARGE)

    # -- What becomes of it -----------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():  # once the client has read it all
            self._enter(Phase.ANSWER, within=inf if self.flow.write_paused else self._limits.body_timeout)
        elif not self.cycle.response_complete:
            if self.cycle.more_body and not self.pipeline:
                self._enter(Phase.BODY, within=self._limits.body_timeout)
        elif self.phase is Phase.ANSWER and self._is_in_head:
            self._enter(Phase.HEAD, within=self._limits.head_timeout)
        elif self.phase is Phase.ANSWER:
            self._enter(Phase.IDLE, within=self._limits.idle_timeout)

    def evict(self) -> None:
        """Close it: another one needs the room."""
        if self.phase is not Phase.CLOSING:
            count_rejected(Ending.EVICTED)
        self.transport.abort()

    def end_if_overdue(self, now: float) -> None:
        """Close it if its time is up."""
        if self._unread_at <= now and self.transport.get_write_buffer_size() < self._unread_bytes:
            self._note_unread()
        elif self._unread_at <= now:
            self._end(Ending.UNREAD)
        elif self._ends_at <= now:
            self._time_out()

    def _time_out(self) -> None:
        match self.phase:
            case Phase.HEAD if self.cycle is None and self._unparsed_bytes == 0:
                self._end(Ending.SILENT)
            case Phase.HEAD:
                self._reject(Rejection.HEAD_TIMEOUT)
            case Phase.BODY if self.flow.read_paused:  # we are the ones who are slow
                self._enter(Phase.BODY, within=self._limits.body_timeout)
            case Phase.BODY:
                self._reject(Rejection.BODY_TIMEOUT)
            case Phase.ANSWER:
                self._end(Ending.UNREAD)
            case Phase.IDLE | Phase.CLOSING:
                self.transport.abort()

    def _note_unread(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._unread_at = self.loop.time() + self._limits.body_timeout

    def _end(self, why: Ending) -> None:
        count_rejected(why)
        self.transport.abort()

    def _reject(self, rejection: Rejection) -> None:
        """Take nothing more; requests that are here whole get their answers first, which are the last then."""
        self._takes_more = False
        cycle = self.cycle
        if self.phase is Phase.HEAD:
            self._answer(rejection)
        elif not cycle.more_body and not cycle.response_complete:
            count_rejected(rejection)
            cycle.keep_alive = False
        elif cycle.response_started or self.pipeline:
            count_rejected(rejection)
            self.transport.abort()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(rejection)

    def _answer(self, rejection: Rejection) -> None:
        count_rejected(rejection)
        self._takes_more = False
        self._enter(Phase.CLOSING, within=_LINGER)
        if self.transport.is_closing():
            return
        usual = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        self.transport.write(rejection.head + self._rejection_headers + usual + b"\r\n" + rejection.body)
        self.transport.write_eof()

    def _enter(self, phase: Phase, *, within: float) -> None:
        self._ends_at = self.loop.time() + within
        if phase is not self.phase and self.phase is not Phase.CLOSING:
            self._room.move(self, phase)
