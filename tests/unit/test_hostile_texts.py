"""Hostile text that got in, wherever it is shown: in mails, on pages of commands, in the log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from typing import Final

import pytest
from rich.console import Console

from cli.on_call.attention import print_concern
from cli.on_call.order_page import print_page
from cli.printable import printable_json
from domain.ids import new_id
from domain.orders import OrderStatus
from ordersaga.events.v1.order_events_pb2 import OrderedAdjustment, OrderedLine, OrderTransitioned
from ordersaga.order.v1 import order_pb2
from runtime.identity import Part
from runtime.on_call import Section, TimelineEntry
from runtime.order_records import CollectedRecord
from sandbox.processes import ROOT
from services.notification.messenger import Message, Recipient
from services.notification.model import ABOUT_ACCOUNTS, Template
from services.notification.rendering import RenderedMail, render, render_account
from services.notification.smtp import compose
from tests.support.hostile_texts import HOSTILE

NOW: Final = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)
TEXTS: Final = {kind: text for kind, text in HOSTILE.items() if kind not in ("lone surrogate", "10 kB")}


class Tags(HTMLParser):
    """What of a page is no text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", decl))

    def handle_data(self, data: str) -> None:
        self.text += data


def mails(text: str) -> Iterator[tuple[Template, RenderedMail]]:
    """Every mail there is, to somebody of that name who ordered a product of that name."""
    event = OrderTransitioned(
        order_id=new_id(),
        user_id=new_id(),
        currency="EUR",
        total=1_250,
        to_status=OrderStatus.PARTIALLY_REFUNDED,
        refund_id=new_id(),
        refund_amount=100,
        refunded=100,
        lines=[OrderedLine(product_id=new_id(), quantity=1, unit_price=1_250, name=text)],
        adjustments=[OrderedAdjustment(type="shipping", name=text, amount=1)],
    )
    event.at.FromDatetime(NOW)
    event.payment_deadline.FromDatetime(NOW)
    for template in Template:
        if template in ABOUT_ACCOUNTS:
            expires_at = NOW + timedelta(hours=1)
            yield (
                template,
                render_account(template, at=NOW, customer=text, token="t" * 43, expires_at=expires_at, page=None),
            )
        else:
            yield template, render(template, event, customer=text, product_names={})


@pytest.mark.parametrize("kind", TEXTS)
def test_a_mail_has_no_part_or_header_by_somebodys_name(kind: str) -> None:
    text = TEXTS[kind]
    for (template, mail), (_, plain) in zip(mails(text), mails("Ada"), strict=True):
        sent, usual = (
            message_from_bytes(written(each, name), policy=default) for each, name in ((mail, text), (plain, "Ada"))
        )

        assert sent.keys() == usual.keys(), template
        assert sent["Subject"] == usual["Subject"]
        assert [address.addr_spec for address in sent["To"].addresses] == ["customer@example.test"]
        assert [part.get_content_type() for part in sent.walk()] == [part.get_content_type() for part in usual.walk()]
        assert sent.defects == []
        for header in sent.values():
            assert all(letter >= " " for letter in header)
        shown = Tags(mail.html)
        assert shown.found == Tags(plain.html).found
        assert text.splitlines()[0] in shown.text
        assert text in mail.text


def written(mail: RenderedMail, name: str) -> bytes:
    message = Message(
        id="order:1:1",
        recipient=Recipient(name=name, address="customer@example.test"),
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
    )
    return compose(message, sender="Ordersaga <orders@example.test>")


@pytest.mark.parametrize("kind", TEXTS)
def test_a_written_mail_has_the_subject_that_was_written(kind: str) -> None:
    text = TEXTS[kind]
    mail = message_from_bytes(written(RenderedMail(subject=text, text=text, html="<p></p>"), "Ada"), policy=default)

    assert all(letter >= " " for header in mail.values() for letter in header)
    assert set(mail.keys()) == {
        *("Content-Type", "MIME-Version", "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted")
    }
    assert [address.addr_spec for address in mail["To"].addresses] == ["customer@example.test"]


@pytest.mark.parametrize("kind", TEXTS)
def test_a_terminal_is_not_steered_by_an_order(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = TEXTS[kind]
    record = CollectedRecord(
        sections=[
            Section("order", ["name", "note"], [[text, text]]),
            Section("mails", ["subject", "error"], [[text, text], [text, ""]]),
        ],
        timeline=[TimelineEntry(at=NOW, type="order.paid", text=text, actor=f"operator:{text}", note=text)],
        missing={Part.PAYMENT: text},
    )
    attention = order_pb2.Attention(by_itself=text, to_do=text)
    concern = attention.concern
    concern.subject_id, concern.step, concern.cause, concern.last_error = text, text, text, f"{text}!"
    concern.since.FromDatetime(NOW)

    print_page(new_id(), record, [attention])
    print_concern(Console(highlight=False), attention)
    page, as_json = capsys.readouterr().out, printable_json({"note": text, "of": [text]})

    assert [letter for letter in page if not letter.isprintable() and letter != "\n"] == []
    assert as_json.isprintable()
    assert json.loads(as_json) == {"note": text, "of": [text]}
    if text.isprintable():
        assert text in page


LOGS: Final = """
import json, logging, sys, structlog
from runtime import work_context
from runtime.logs import configure_logging
configure_logging("info")
for text in json.load(sys.stdin):
    work_context.request_id.set(text)
    structlog.stdlib.get_logger("ours").warning("text", text=text, **{text: text})
    logging.getLogger("others").warning("said %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.stdlib.get_logger("ours").exception(text)
"""


def test_text_stays_in_its_line_of_the_log() -> None:
    """In a process of its own: the log is one of those things that are set up once."""
    done = subprocess.run(
        [sys.executable, "-c", LOGS],
        cwd=ROOT,
        input=json.dumps(list(TEXTS.values())),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    lines = done.stderr.split("\n")
    assert lines.pop() == ""
    assert len(lines) == 3 * len(TEXTS)
    for line in lines:
        assert line.isprintable()
        assert json.loads(line)["level"] in ("warning", "error")
