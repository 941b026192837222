"""Mutations of what is deleted, and of who knows that it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.support.mutation import Mutation

RETENTION: Final[Sequence[Mutation]] = (
    Mutation(
        breaks="an event that was never published is deleted once it is old",
        file="runtime/outbox.py",
        source='goes="published_at IS NOT NULL AND published_at < now() - %(kept)s"',
        mutated='goes="coalesce(published_at, at) < now() - %(kept)s"',
        tests=["tests/runtime/test_retention.py"],
    ),
    Mutation(
        breaks="a process that has lost a table to another goes on deleting",
        file="runtime/retention.py",
        source="        if not noted:\n",
        mutated="        if noted < 0:\n",
        tests=["tests/runtime/test_retention.py"],
    ),
    Mutation(
        breaks="a pass reads on through all that is young",
        file="runtime/retention.py",
        source="count(*) = %(limit)s AND NOT bool_or(is_young) AS more",
        mutated="count(*) = %(limit)s AS more",
        tests=["tests/runtime/test_retention.py"],
    ),
    Mutation(
        breaks="each turn begins with the oldest row, and never comes past those that stay",
        file="runtime/retention.py",
        source="after=batch.after if batch.more else None,",
        mutated="after=None,",
        tests=["tests/runtime/test_retention.py"],
    ),
    Mutation(
        breaks="nobody knows up to when rows were deleted",
        file="runtime/retention.py",
        source="horizon = greatest(horizon, %(horizon)s::timestamptz)",
        mutated="horizon = CASE WHEN %(horizon)s::timestamptz IS NULL THEN horizon END",
        tests=["tests/order/test_retention.py"],
    ),
    Mutation(
        breaks="the audit misses no outbox row any more",
        file="cli/audit/invariants.py",
        source="            if not row.may_be_deleted:\n",
        mutated="            if row.is_published:\n",
        tests=["tests/order/test_retention.py"],
    ),
    Mutation(
        breaks="what a topic has forgotten is a breach",
        file="cli/audit/invariants.py",
        source="is_forgotten = facts.forgotten_by_kafka is not None and row.at <= facts.forgotten_by_kafka",
        mutated="is_forgotten = False",
        tests=["tests/order/test_retention.py"],
    ),
    Mutation(
        breaks="an event of Stripe's that needs a person is deleted",
        file="services/payment/retention.py",
        source="among=\"status IN ('APPLIED', 'IGNORED')\"",
        mutated="among=\"status IN ('APPLIED', 'IGNORED', 'FLAGGED')\"",
        tests=["tests/payment/test_retention.py"],
    ),
    Mutation(
        breaks="when a payment succeeded is forgotten with its event",
        file="services/payment/retention.py",
        source=", archive=_ARCHIVE)",
        mutated=")",
        tests=["tests/payment/test_retention.py"],
    ),
    Mutation(
        breaks="the first token of a session that goes on is to be deleted, which ends all deletion of tokens",
        file="services/user/retention.py",
        source="    AND (id <> family_id\n",
        mutated="    AND (id IS NOT NULL\n",
        tests=["tests/user/test_retention.py"],
    ),
    Mutation(
        breaks="a session that has ended is forgotten while its access tokens live",
        file="services/user/retention.py",
        source="seconds=settings.session_retention + settings.access_token_ttl",
        mutated="seconds=settings.session_retention",
        tests=["tests/user/test_retention.py"],
    ),
    Mutation(
        breaks="a link that still works is deleted",
        file="services/user/retention.py",
        source="    coalesce(expires_at, requested_at) < now() - %(kept)s\n    AND requested_at",
        mutated="    requested_at",
        tests=["tests/user/test_retention.py"],
    ),
    Mutation(
        breaks="an event that the inbox has forgotten is taken for a defect",
        file="services/notification/repository.py",
        source="    ON CONFLICT (ce_id) DO NOTHING\n",
        mutated="",
        tests=["tests/notification/test_retention.py"],
    ),
    Mutation(
        breaks="the inbox forgets what topics still hold",
        file="services/notification/retention.py",
        source="topics = timedelta(seconds=settings.kafka_retention) + _BEYOND_TOPICS",
        mutated="topics = _BEYOND_TOPICS",
        tests=["tests/notification/test_retention.py"],
    ),
)
