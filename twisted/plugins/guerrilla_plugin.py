"""Tells twistd of the command ``guerrilla``. Strings only: every ``twistd`` run imports this."""

from twisted.application.service import ServiceMaker

guerrilla = ServiceMaker(
    "guerrilla",
    "guerrilla_tw.tap",
    "An SMTP daemon that receives mail and runs it through a chain of processors.",
    "guerrilla",
)
