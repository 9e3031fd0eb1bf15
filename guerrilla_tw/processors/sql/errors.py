"""What went wrong in a database, and what to do about it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

from sqlalchemy.exc import DBAPIError

# MySQL's numbers of what the driver itself found; the others are the server's.
_CLIENT_ERRORS: Final = range(2000, 3000)
# The server ends the session: shutdown, killed, killed while idle.
_MYSQL_ENDS: Final = frozenset({1053, 1927, 4031})
# Lock wait timeout, deadlock.
_MYSQL_BUSY: Final = frozenset({1205, 1213})
# lock_not_available, deadlock_detected, serialization_failure.
_POSTGRESQL_BUSY: Final = frozenset({"55P03", "40P01", "40001"})
_DATA_TOO_LONG: Final = 1406
# max_allowed_packet.
_TOO_LARGE_PACKET: Final = 1153
# Of SIGNAL, in a trigger: its own text may hold anything.
_MYSQL_SIGNALS: Final = frozenset({1642, 1643, 1644})
# Texts of MySQL that name databases, tables, columns and users only. In others, what stands between
# quotes may be the message's.
_MYSQL_QUOTES_NAMES: Final = frozenset(
    {1044, 1045, 1046, 1048, 1049, 1050, 1054, 1114, 1142, 1143, 1146, 1227, 1264, 1265, 1290}
    | {1364, 1698, _DATA_TOO_LONG}
)
# Classes of PostgreSQL's SQLSTATEs (its manual, appendix A) whose texts name such things only:
# connections, accounts, the state of a transaction, names, resources, limits, the operator's work.
# Those of others, and of a trigger, may hold what the message does.
_POSTGRESQL_NAMES: Final = ("08", "25", "28", "3D", "3F", "42", "53", "54", "55", "57")
_LONGEST_CAUSE: Final = 300


class Trouble(Enum):
    """What an error means for the message."""

    #: The connection is no more.
    LOST = auto()
    #: Somebody else was in the way; nothing was written.
    BUSY = auto()
    #: It never fits.
    TOO_LARGE = auto()
    #: Nothing was written, for a reason of the database or of the data.
    REFUSED = auto()


def trouble(error: Exception) -> Trouble:
    """
    Judge an error.

    :param error: of SQLAlchemy, of a driver, or of the operating system.
    """
    origin = _origin(error)
    code = _code(origin)
    if is_lost(origin):
        return Trouble.LOST
    if code in _MYSQL_BUSY or code in _POSTGRESQL_BUSY:
        return Trouble.BUSY
    # The other columns are given no more than they hold.
    if (code == _DATA_TOO_LONG and "'mail'" in str(origin)) or code == _TOO_LARGE_PACKET:
        return Trouble.TOO_LARGE
    # SQLite: "string or blob too big".
    if code is None and type(origin).__name__ in ("DataError", "OverflowError"):
        return Trouble.TOO_LARGE
    return Trouble.REFUSED


def is_lost(origin: BaseException) -> bool:
    """
    Ask whether a connection can be used no more.

    :param origin: what the driver raised.
    """
    module = type(origin).__module__.partition(".")[0]
    code = _code(origin)
    if module == "sqlite3" or isinstance(origin, (OverflowError, UnicodeEncodeError)):
        # The latter are of a value, before anything was sent.
        return False
    if module == "pymysql":
        return code is None or code in _CLIENT_ERRORS or code in _MYSQL_ENDS
    if module == "pg8000" and code is not None:
        return _fields(origin).get("V") in ("FATAL", "PANIC")
    # In the middle of an answer, perhaps one that is none, such as a KeyError; whatever comes next
    # there belongs to that one.
    return True


def cause(error: Exception) -> str:
    """
    Say why, in one line that holds nothing of the message and no password.

    :param error: as for :func:`trouble`.
    """
    origin = _origin(error)
    code = _code(origin)
    below = origin.__cause__
    if isinstance(code, int):
        text = _mysql_text(code, str(origin.args[1]))
    elif code is not None:
        text = _postgresql_text(code, _fields(origin).get("M", ""))
    elif isinstance(below, OSError):
        text = f"cannot be reached: {below.strerror or below}"
    elif isinstance(origin, OSError):
        text = str(origin.strerror or origin)
    elif type(origin).__module__ in ("sqlite3", "pg8000.exceptions"):
        text = str(origin)
    else:
        text = type(origin).__name__
    return " ".join(text.split())[:_LONGEST_CAUSE]


def _mysql_text(code: int, text: str) -> str:
    if code in _MYSQL_SIGNALS:
        return f"refused by a trigger ({code})"
    if code not in _MYSQL_QUOTES_NAMES and code not in _CLIENT_ERRORS:
        text = text.partition("'")[0].rstrip(" :")
    return f"{text} ({code})"


def _postgresql_text(code: str, text: str) -> str:
    return f"{text} ({code})" if code.startswith(_POSTGRESQL_NAMES) else f"SQLSTATE {code}"


def _origin(error: Exception) -> Any:
    """:returns: what the driver raised: the text of SQLAlchemy's error holds the statement."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _code(origin: Any) -> int | str | None:
    """:returns: MySQL's number, PostgreSQL's SQLSTATE, or None: it is not the server's error."""
    module = type(origin).__module__.partition(".")[0]
    if module == "pymysql" and len(origin.args) > 1 and origin.args[0]:
        return int(origin.args[0])
    if module == "pg8000":
        return _fields(origin).get("C")
    return None


def _fields(origin: Any) -> dict[str, str]:
    """:returns: PostgreSQL's fields of an error (its manual, section 55.8)."""
    fields = origin.args[0] if origin.args else None
    return fields if isinstance(fields, dict) else {}
