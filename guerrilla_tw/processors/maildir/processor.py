"""MailDir: keeps messages in Maildirs, a file for each recipient."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import implementer

from guerrilla_tw.backends.chain import process_with
from guerrilla_tw.backends.errors import StoreError
from guerrilla_tw.backends.registry import Decorator
from guerrilla_tw.backends.results import (
    NO_SUCH_USER,
    QUOTA_EXCEEDED,
    STORE_UNAVAILABLE,
    TOO_LARGE_FOR_STORE,
    RecipientResults,
    Result,
)
from guerrilla_tw.interfaces import IBackendService, IInitializer, IResult, Task
from guerrilla_tw.mail.envelope import Envelope
from guerrilla_tw.processors.maildir.delivery import Delivery, DeliveryError, cause_text
from guerrilla_tw.processors.maildir.directories import Directories, check_owners
from guerrilla_tw.processors.maildir.path import Mailbox, Mailboxes, MaildirPath, parse_user_map

_RESULTS: Mapping[int, Result] = MappingProxyType(
    {
        errno.EFBIG: TOO_LARGE_FOR_STORE,
        errno.ENOSPC: Result(452, "4.3.1", "no room in the storage, try again later"),
    }
)
_NOT_ALONE = Result(451, "4.3.0", "not stored, since another recipient is unknown; try again")
_ONE_IS_FULL = Result(452, "4.2.2", "a mailbox of this message is full, try again later")
_ANOTHER_IS_FULL = Result(451, "4.3.0", "not stored, since another mailbox is full; try again")


class MaildirConfig(msgspec.Struct, frozen=True):
    """
    Settings, the first two of them go-guerrilla's.

    :param maildir_path: where mailboxes are; ``[user]`` and ``[host]`` stand for the recipient's.
    :param maildir_user_map: who has a mailbox, and its owner: ``test=1002:2003,guerrilla=-1:-1``;
        empty for everybody.
    :param maildir_crlf: keep CR LF at the ends of lines, instead of LF.
    """

    maildir_path: str
    maildir_user_map: str = ""
    maildir_crlf: bool = False

    def __post_init__(self) -> None:
        self.mailboxes()

    def mailboxes(self) -> Mailboxes:
        """:raises ConfigError: the settings cannot be used."""
        return Mailboxes(MaildirPath(self.maildir_path), parse_user_map(self.maildir_user_map))


@implementer(IInitializer)
class MaildirStore:
    """
    The mailboxes, and how a message gets there.

    :param config: settings.
    :param svc: of the processor.
    """

    def __init__(self, config: MaildirConfig, svc: IBackendService) -> None:
        self._svc = svc
        self._mailboxes = config.mailboxes()
        self._directories = Directories(self._mailboxes.path)
        self._delivery = Delivery(
            self._directories, self._mailboxes.known, crlf=config.maildir_crlf
        )

    def initialize(self, config: Mapping[str, object]) -> Deferred[None]:
        """
        Make the directories that are known by now.

        :raises StoreError: no mail could be written there.
        """
        return self._svc.defer_to_worker(self._prepare)

    def _prepare(self) -> None:
        check_owners(self._mailboxes.owners.values())
        where = self._mailboxes.path.root
        try:
            self._directories.make_root()
            for mailbox in sorted(self._mailboxes.known):
                where = self._directories.name(mailbox)
                self._directories.make(mailbox)
                self._directories.check(mailbox)
            if not self._mailboxes.known:
                self._directories.check_root()
        except OSError as error:
            raise StoreError(f"cannot store in {where}: {cause_text(error)}") from error

    def process(self, envelope: Envelope, task: Task) -> IResult | None:
        """Do a task. Runs in the pool."""
        if task is Task.SAVE_MAIL:
            return self._save(envelope)
        return self._validate(envelope)

    def _validate(self, envelope: Envelope) -> IResult | None:
        mailbox = self._mailboxes.find(envelope.rcpt_to[-1])
        if mailbox is None:
            return NO_SUCH_USER
        try:
            if mailbox in self._mailboxes.known:
                self._directories.check(mailbox)
            else:
                self._directories.check_root()
        except OSError as error:
            where = self._directories.name(mailbox)
            self._log(envelope, DeliveryError(mailbox, where, error))
            return STORE_UNAVAILABLE
        return None

    def _save(self, envelope: Envelope) -> IResult | None:
        """
        Store a message, for all its recipients or for none.

        :returns: None when it is on the disk.
        """
        mailboxes = [self._mailboxes.find(recipient) for recipient in envelope.rcpt_to]
        known = [mailbox for mailbox in mailboxes if mailbox is not None]
        if len(known) < len(mailboxes):
            return _refuse_strangers(envelope, mailboxes)
        try:
            # Recipients who share a mailbox get one copy.
            self._delivery.deliver(envelope, dict.fromkeys(known), self._svc.time_for(envelope))
        except DeliveryError as error:
            self._log(envelope, error)
            if error.errno == errno.EDQUOT:
                return _refuse_full(envelope, known, error.mailbox)
            return _RESULTS.get(error.errno, STORE_UNAVAILABLE)
        return None

    def _log(self, envelope: Envelope, error: DeliveryError) -> None:
        self._svc.log.error(
            "{queued_id}: cannot store in {cause}", queued_id=envelope.queued_id, cause=str(error)
        )


def _refuse_strangers(envelope: Envelope, mailboxes: list[Mailbox | None]) -> IResult:
    """
    Refuse a message that has unknown recipients, of which nothing is stored for anyone.

    A client that speaks SMTP reads one reply for all: it is told for good that the message went to
    nobody, since with "try again" it would try for days. One that speaks LMTP is told of each
    recipient: the known ones have to be tried again, which will go well without the others.
    """
    if not envelope.lmtp:
        return NO_SUCH_USER
    return RecipientResults(
        NO_SUCH_USER if mailbox is None else _NOT_ALONE for mailbox in mailboxes
    )


def _refuse_full(envelope: Envelope, mailboxes: list[Mailbox], full: Mailbox) -> IResult:
    """
    Refuse a message for which one mailbox has no room, and of which nothing is stored for anyone.

    :param mailboxes: of the recipients, in order.
    """
    if all(mailbox == full for mailbox in mailboxes):
        return QUOTA_EXCEEDED
    if not envelope.lmtp:
        return _ONE_IS_FULL
    return RecipientResults(
        QUOTA_EXCEEDED if mailbox == full else _ANOTHER_IS_FULL for mailbox in mailboxes
    )


def maildir(svc: IBackendService) -> Decorator:
    """
    Keep messages in Maildirs, and know who has one (go-guerrilla: ``MailDir``).

    In ``save_process`` it stores the delivery header and the message, for all recipients or for
    none. In ``validate_process`` it refuses who has no mailbox.
    """
    config = svc.extract_config(svc.config, MaildirConfig)
    store = MaildirStore(config, svc)
    if config.maildir_user_map and not svc.is_named_in("validate_process"):
        svc.warn(
            "is not in validate_process, so that mail for users who are not in maildir_user_map is "
            "refused only when all of it has come"
        )
    svc.declare_store()
    svc.add_initializer(store)
    return process_with(svc, store.process)
