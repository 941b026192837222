"""What a shop has besides finished orders: much that is over, of what `bench.filling` has none, and little that waits.

Each statement makes rows of one table. What is over is there by the thousand, so that whoever goes through all of it is
seen; what waits is there in tens, as on a day like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

OVER: Final = 3_000
WAITING: Final = 20

BESIDES: Final[Mapping[str, Sequence[str]]] = {
    "order": (
        """
        INSERT INTO concerns (kind, subject_id, step, order_id, cause, since, attempts, raised_by, raised_at,
                              updated_at, cleared_at, cleared_by)
        SELECT 'ORDER', id::text, 'workflow', id, 'it was lost', created_at, 1, 'watcher', created_at, created_at,
               CASE WHEN number > {waiting} THEN created_at END, CASE WHEN number > {waiting} THEN 'watcher' END
          FROM (SELECT id, created_at, row_number() OVER (ORDER BY id DESC) AS number FROM orders) AS numbered
         WHERE number <= {over}
        """,
        """
        INSERT INTO actions (at, actor, action, kind, subject_id, order_id, note, outcome)
        SELECT created_at, 'operator:on-call', 'retry', 'ORDER', id::text, id, '', 'done'
          FROM orders ORDER BY orders.id LIMIT {over}
        """,
        """
        INSERT INTO cancellation_requests (order_id, cancelled_by, user_id, note, requested_at, settled_at, attempts,
                                           next_attempt_at, last_error)
        SELECT id, 'CUSTOMER', user_id, '', now() - interval '1 day',
               CASE WHEN status = 'PENDING' THEN NULL ELSE now() END, 1, now() - interval '1 hour', 'it is away'
          FROM orders ORDER BY id DESC LIMIT {over}
        ON CONFLICT DO NOTHING
        """,
        """
        UPDATE orders SET status = 'RECEIVED', total = NULL, payment_id = NULL, payment_deadline = NULL, seq = 1
         WHERE id IN (SELECT id FROM orders WHERE status = 'PENDING' ORDER BY id LIMIT {waiting})
        """,
        """
        INSERT INTO guests (order_id, email, name, attempts, next_attempt_at, looked_at)
        SELECT id, 'guest-of-' || number || '@example.test', 'Guest', 0, created_at,
               CASE WHEN status = 'PENDING' THEN NULL ELSE created_at END
          FROM orders ORDER BY id DESC LIMIT {over}
        ON CONFLICT DO NOTHING
        """,
        """
        INSERT INTO guest_link_requests (id, order_number, email, attempts, next_attempt_at)
        SELECT gen_random_uuid(), 'N' || number, 'guest-' || number || '@example.test', 0,
               CASE WHEN number > {waiting} THEN now() + interval '1 hour' ELSE now() END
          FROM generate_series(1, {over}) AS number
        """,
        "UPDATE looks SET next_attempt_at = now()",
        """
        UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)
        """,
    ),
    "payment": (
        """
        INSERT INTO payment_history (payment_id, seq, at, type, status)
        SELECT id, 2, created_at, 'payment.status-updated', 'SUCCEEDED' FROM payments ORDER BY id LIMIT {over}
        """,
        """
        INSERT INTO disputes (id, payment_id, status, reason, amount, currency, withdrawn, version, saga_open,
                              notified_version, created_at, updated_at, attempts, next_attempt_at, failing_since)
        SELECT 'dp_' || number, id, 'LOST', 'fraudulent', 1, 'EUR', 1, 2, number <= {waiting}, 1, created_at,
               created_at, 0, created_at, CASE WHEN number <= {waiting} THEN created_at END
          FROM (SELECT id, created_at, row_number() OVER (ORDER BY id DESC) AS number FROM payments) AS numbered
         WHERE number <= {over}
        """,
        """
        INSERT INTO refunds (id, payment_id, origin, amount, currency, status, generation, restock, restock_id, note,
                             version, saga_open, notified_version, created_at, updated_at, attempts, next_attempt_at,
                             failing_since)
        SELECT gen_random_uuid(), id, 'ADMIN', 1, 'EUR', 'PENDING', 0, '[]', gen_random_uuid(), '', 2,
               number <= {waiting}, 1, created_at, created_at, 0, created_at,
               CASE WHEN number <= {waiting} THEN created_at END
          FROM (SELECT id, created_at, row_number() OVER (ORDER BY id DESC) AS number FROM payments) AS numbered
         WHERE number <= {over}
        """,
        """
        INSERT INTO refund_approvals (id, payment_id, amount, approved_by, approved_by_key, created_at, expires_at,
                                      note)
        SELECT gen_random_uuid(), id, 1, 'admin:somebody', gen_random_uuid(), created_at, created_at, ''
          FROM payments ORDER BY id DESC LIMIT {over}
        """,
        """
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
        SELECT gen_random_uuid(), 'POST', 'key-' || number, '-', gen_random_uuid(), now(),
               CASE WHEN number > {waiting} THEN now() ELSE now() - interval '2 days' END
          FROM generate_series(1, {over}) AS number
        """,
        """
        UPDATE provider_events SET status = 'RECEIVED', attempts = 2, next_attempt_at = now() - interval '1 hour'
         WHERE event_id IN (SELECT event_id FROM provider_events ORDER BY event_id LIMIT {waiting})
        """,
        """
        UPDATE provider_events SET status = 'FLAGGED'
         WHERE event_id IN (SELECT event_id FROM provider_events ORDER BY event_id DESC LIMIT {waiting})
        """,
        "INSERT INTO event_sweep (name, swept_until) VALUES ('stripe', now()) ON CONFLICT DO NOTHING",
        "UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)",
    ),
    "inventory": ("UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)",),
    "product": (
        """
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
        SELECT gen_random_uuid(), 'POST', 'key-' || number, '-', gen_random_uuid(), now(),
               CASE WHEN number > {waiting} THEN now() ELSE now() - interval '2 days' END
          FROM generate_series(1, {over}) AS number
        """,
        "UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)",
    ),
    "notification": (
        """
        UPDATE notifications SET status = 'PENDING', event = '{{}}', seq = NULL, sent_at = NULL, attempts = 2,
               last_error = 'away', next_attempt_at = now() - interval '1 hour'
         WHERE id IN (SELECT id FROM notifications WHERE order_id IS NOT NULL ORDER BY id DESC LIMIT {waiting})
        """,
        """
        UPDATE notifications SET status = 'FAILED', event = '{{}}'
         WHERE id IN (SELECT id FROM notifications WHERE order_id IS NOT NULL ORDER BY id LIMIT {waiting})
        """,
        """
        INSERT INTO dead_letters (id, topic, partition, record_offset, recorded_at, headers, consumer, reason, error,
                                  refused_at, status, closed_at)
        SELECT gen_random_uuid(), 'order-events', 0, number, now(), '[]', 'notification', 'unreadable', '', now(),
               CASE WHEN number > {waiting} THEN 'RESOLVED' ELSE 'OPEN' END,
               CASE WHEN number > {waiting} THEN now() END
          FROM generate_series(1, {over}) AS number
        """,
        """
        INSERT INTO dead_letter_actions (id, dead_letter_id, action, actor, note, refusal, at)
        SELECT gen_random_uuid(), id, 'RESOLVE', 'operator:on-call', '', '', now() FROM dead_letters
        """,
        "UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)",
    ),
    "user": (
        """
        INSERT INTO users (id, email, name, role, seq, created_at, password_hash)
        SELECT gen_random_uuid(), 'person-' || number || '@example.test', 'Person', 'customer', 1, now(), '-'
          FROM generate_series(1, {over}) AS number
        """,
        """
        UPDATE users SET role = 'admin' WHERE email IN (SELECT email FROM users ORDER BY id LIMIT 3)
        """,
        """
        INSERT INTO refresh_tokens (id, family_id, user_id, token_hash, issued_at, expires_at, revoked_at)
        SELECT made.id, made.id, made.user_id, decode(md5(made.id::text), 'hex'), now(), now() + interval '30 days',
               CASE WHEN random() < 0.01 THEN now() WHEN random() < 0.5 THEN now() - interval '20 days' END
          FROM (SELECT gen_random_uuid() AS id, id AS user_id FROM users LIMIT {over}) AS made
        """,
        """
        INSERT INTO account_links (id, user_id, purpose, email, token_hashes, requested_at)
        SELECT gen_random_uuid(), id, 'reset-password', email, '{{}}', now() - interval '40 days'
          FROM users LIMIT {over}
        """,
        """
        INSERT INTO password_reset_requests (id, email, attempts, next_attempt_at)
        SELECT gen_random_uuid(), email, 0, now() + interval '1 hour' FROM users LIMIT {over}
        """,
        """
        UPDATE password_reset_requests SET next_attempt_at = now()
         WHERE id IN (SELECT id FROM password_reset_requests LIMIT {waiting})
        """,
        """
        INSERT INTO erasures (user_id, requested_by, requested_at, attempts, next_attempt_at, completed_at)
        SELECT gen_random_uuid(), 'themselves', now(), 0, now(),
               CASE WHEN number > {waiting} THEN now() END
          FROM generate_series(1, 5 * {over}) AS number
        """,
        """
        INSERT INTO adoptions (user_id, attempts, next_attempt_at)
        SELECT id, 0, now() + interval '1 hour' FROM users LIMIT {over}
        """,
        """
        UPDATE adoptions SET next_attempt_at = now()
         WHERE user_id IN (SELECT user_id FROM adoptions LIMIT {waiting})
        """,
        """
        INSERT INTO rate_limits (bucket, full_at, granted)
        SELECT decode(md5(number::text), 'hex'),
               CASE WHEN number > {waiting} THEN now() + interval '1 day' ELSE now() - interval '1 day' END, 1
          FROM generate_series(1, {over}) AS number
        """,
        """
        INSERT INTO idempotency_keys (user_id, route, key, request_hash, subject_id, answer_by, created_at)
        SELECT gen_random_uuid(), 'POST', 'key-' || number, '-', gen_random_uuid(), now(),
               CASE WHEN number > {waiting} THEN now() ELSE now() - interval '2 days' END
          FROM generate_series(1, {over}) AS number
        """,
        "UPDATE outbox SET published_at = NULL WHERE id > (SELECT max(id) - {waiting} FROM outbox)",
    ),
}


def add_besides(dsns: Mapping[str, str]) -> None:
    """Add it to filled databases, and let the planner know."""
    for service, statements in BESIDES.items():
        with psycopg.connect(dsns[service], autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.format(over=OVER, waiting=WAITING).encode())
            connection.execute("VACUUM (ANALYZE)")
