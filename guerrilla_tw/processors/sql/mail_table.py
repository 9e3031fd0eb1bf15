"""The table of mail: go-guerrilla's columns, and how a message fills them."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from ipaddress import ip_address
from typing import Any

from sqlalchemy import (
    VARBINARY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

from guerrilla_tw.mail.address import parse_mailbox
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.compressor import COMPRESSED, CompressedMessage
from guerrilla_tw.processors.redis.processor import IN_REDIS

# What the text columns of go-guerrilla's tables hold.
_LONGEST_TEXT = 255
# What makes MySQL's blob a LONGBLOB.
_LONGEST_MAIL = 2**32 - 1


def mail_table(name: str) -> Table:
    """
    Describe the table; SQLAlchemy makes the statement of each database of it.

    :param name: of the table; a schema or a database may stand before it, with a dot.
    :returns: the columns of go-guerrilla's table.
    """
    schema, _, table = name.rpartition(".")
    text = String(_LONGEST_TEXT)
    return Table(
        table,
        MetaData(),
        # SQLite counts by itself in an INTEGER only.
        Column(
            "mail_id",
            BigInteger().with_variant(Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        Column("date", DateTime, nullable=False),
        Column("to", text, nullable=False),
        Column("from", text, nullable=False),
        Column("subject", text, nullable=False),
        Column("body", String(16), nullable=False),
        Column("mail", LargeBinary(_LONGEST_MAIL), nullable=False),
        Column("spam_score", Float, nullable=False),
        Column("hash", String(32), nullable=False, index=True),
        Column("content_type", text, nullable=False),
        Column("recipient", text, nullable=False, index=True),
        Column("has_attach", Boolean, nullable=False),
        Column("ip_addr", LargeBinary(16).with_variant(VARBINARY(16), "mysql"), nullable=False),
        Column("return_path", text, nullable=False),
        Column("is_tls", Boolean, nullable=False),
        Column("message_id", text, nullable=False),
        Column("reply_to", text, nullable=False),
        Column("sender", text, nullable=False),
        schema=schema or None,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )


def mail_rows(envelope: Envelope, primary_mail_host: str) -> list[dict[str, Any]]:
    """
    Describe a message.

    :param envelope: of the message.
    :param primary_mail_host: host in the Message-ID of a message that has none; by default
        the recipient's.
    :returns: the columns' values, all but mail_id, of a row for each recipient; and ``charset``,
        a column of older tables.
    """
    body, mail = _body_and_mail(envelope)
    received_at = time.time() if envelope.received_at is None else envelope.received_at
    in_common = {
        # As text each database reads it, and none has to be told about zones.
        "date": datetime.fromtimestamp(received_at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f"),
        "from": _trim(str(envelope.mail_from)),
        "subject": _trim(envelope.subject),
        "body": body,
        "charset": "UTF-8",
        "mail": mail,
        "spam_score": 0,
        "content_type": _trim(envelope.header.get("Content-Type") or ""),
        "has_attach": False,
        "ip_addr": ip_address(envelope.remote_ip).packed if envelope.remote_ip else b"",
        "return_path": _trim(str(envelope.mail_from)),
        "is_tls": envelope.tls,
        "reply_to": _mailbox(envelope, "Reply-To"),
        "sender": _mailbox(envelope, "Sender"),
    }
    to = _mailbox(envelope, "To")
    message_id = _trim((envelope.header.get_raw("Message-Id") or "").strip().strip("<>"))
    hashes = envelope.hashes or [""] * len(envelope.rcpt_to)
    in_redis = envelope.values.get(IN_REDIS)
    return [
        in_common
        | {
            "to": to or _trim(str(recipient)),
            "recipient": _trim(str(recipient)),
            "hash": in_redis or message_hash,
            "message_id": message_id
            or _trim(
                f"{message_hash or envelope.queued_id}@{primary_mail_host or recipient.domain}"
            ),
        }
        for recipient, message_hash in zip(envelope.rcpt_to, hashes, strict=True)
    ]


def _body_and_mail(envelope: Envelope) -> tuple[str, bytes]:
    """
    :returns: how to read the mail column (go-guerrilla's names), and what is in it.
    """
    if envelope.values.get(IN_REDIS):
        return "redis", b""
    compressed = envelope.values.get(COMPRESSED)
    if isinstance(compressed, CompressedMessage):
        return "gzip", compressed.data(envelope)
    return "", envelope.delivered_data


def _trim(text: str) -> str:
    return text.strip()[:_LONGEST_TEXT]


def _mailbox(envelope: Envelope, field: str) -> str:
    # Raw: a decoded word may hold a comma or an @, and so a mailbox that is not there.
    value = envelope.header.get_raw(field)
    address = parse_mailbox(value) if value else None
    return _trim(str(address)) if address else ""
