"""gRPC of what needs a person, and of what operators do about it."""

from __future__ import annotations

from typing import Any

import grpc.aio

from domain.concerns import ConcernKind
from domain.ids import is_id
from domain.limits import MAX_ATTENTION_CAUSE, MAX_CONCERNS, MAX_NOTE, MAX_STEP, MAX_SUBJECT_ID
from ordersaga.oncall.v1 import on_call_pb2 as on_call_pb
from ordersaga.order.v1 import order_pb2 as pb
from runtime.caller import current_caller
from runtime.identity import Part
from runtime.permissions import allow
from runtime.protos import enum_mapping, to_proto
from runtime.validation import Violations
from services.order.attention.advice import advise
from services.order.attention.desk import Desk
from services.order.attention.model import OpenConcern, Wanted
from services.order.attention.service import AttentionService
from services.order.service import OrderService

Context = grpc.aio.ServicerContext[Any, Any]


class AttentionRpcs:
    """The methods about attention."""

    _service: OrderService
    _attention: AttentionService
    _desk: Desk
    _repairs_itself: bool

    @allow(Part.ORDER_WORKER)
    async def RaiseAttention(self, request: pb.RaiseAttentionRequest, context: Context) -> pb.RaiseAttentionResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("step", request.step, longest=MAX_STEP)
            violations.check_text("cause", request.cause, longest=MAX_ATTENTION_CAUSE)
        kind, subject_id, step = _subject_of(request)
        await self._attention.raise_for_step(
            kind=kind, subject_id=subject_id, order_id=request.order_id, step=step, cause=request.cause
        )
        return pb.RaiseAttentionResponse()

    @allow(Part.ORDER_WORKER)
    async def ClearAttention(self, request: pb.ClearAttentionRequest, context: Context) -> pb.ClearAttentionResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_text("step", request.step, longest=MAX_STEP)
        kind, subject_id, step = _subject_of(request)
        await self._attention.clear(kind=kind, subject_id=subject_id, step=step)
        return pb.ClearAttentionResponse()

    @allow(Part.OPERATOR)
    async def ListAttention(self, request: pb.ListAttentionRequest, context: Context) -> pb.ListAttentionResponse:
        with Violations() as violations:
            violations.check_range("page_size", request.page_size, smallest=1, largest=MAX_CONCERNS)
            if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
                violations.add("page_token", "is none of ours")
        wanted = Wanted(
            kind=enum_mapping(ConcernKind, on_call_pb.ConcernKind.DESCRIPTOR).from_proto(request.kind),
            step=request.step or None,
            subject_id=request.subject_id or None,
            after=int(request.page_token or 0),
        )
        page = await self._attention.list_open(wanted, page_size=request.page_size)
        return pb.ListAttentionResponse(
            attention=[self._to_attention(concern) for concern in page.concerns],
            next_page_token=str(page.concerns[-1].id) if page.has_more else "",
        )

    @allow(Part.PAYMENT)
    async def ReportMissingSaga(
        self, request: pb.ReportMissingSagaRequest, context: Context
    ) -> pb.ReportMissingSagaResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
        return pb.ReportMissingSagaResponse(is_open=await self._desk.report_missing(request.order_id))

    @allow(Part.OPERATOR)
    async def Retry(self, request: pb.RetryRequest, context: Context) -> pb.RetryResponse:
        _check_action(request)
        outcome = await self._desk.retry(request.subject_id, actor=current_caller().actor, note=request.note)
        return pb.RetryResponse(outcome=outcome.text, succeeded=outcome.succeeded)

    @allow(Part.OPERATOR)
    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        _check_action(request)
        outcome = await self._desk.resolve(request.subject_id, actor=current_caller().actor, note=request.note)
        return pb.ResolveResponse(outcome=outcome.text)

    @allow(Part.OPERATOR)
    async def RepairOrder(self, request: pb.RepairOrderRequest, context: Context) -> pb.RepairOrderResponse:
        with Violations() as violations:
            violations.check_id("order_id", request.order_id)
            violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)
        started = await self._desk.repair(request.order_id, actor=current_caller().actor, note=request.note)
        return pb.RepairOrderResponse(started=started)

    def _to_attention(self, concern: OpenConcern) -> pb.Attention:
        advice = advise(concern, repairs_itself=self._repairs_itself)
        return pb.Attention(
            concern=to_proto(on_call_pb.Concern, concern),
            raised_by=concern.raised_by,
            by_itself=advice.by_itself,
            to_do=advice.to_do,
        )


def _check_action(request: pb.RetryRequest | pb.ResolveRequest) -> None:
    with Violations() as violations:
        violations.check_text("subject_id", request.subject_id, longest=MAX_SUBJECT_ID)
        violations.check_plain_line("note", request.note, shortest=0, longest=MAX_NOTE)


def _subject_of(request: pb.RaiseAttentionRequest | pb.ClearAttentionRequest) -> tuple[ConcernKind, str, str]:
    """Kind, subject and step: behind the step of a refund or dispute stands its id; a dispute's is Stripe's."""
    step, _, qualifier = request.step.partition(" ")
    if not qualifier:
        return ConcernKind.ORDER, request.order_id, step
    return ConcernKind.REFUND if is_id(qualifier) else ConcernKind.DISPUTE, qualifier, step
