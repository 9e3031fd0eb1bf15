"""Domains that are not ASCII: IDNA 2008 (RFC 5890 to 5893), after the mapping of UTS 46."""

from __future__ import annotations

import idna

# RFC 1035 section 2.3.4: 63 octets. An A-label is its U-label with "xn--", or longer. IDNA's rules
# of context take a time with the square of a label's length.
_MAX_U_LABEL = 59


def to_a_labels(domain: str) -> str:
    """
    Give a domain as the DNS knows it.

    :param domain: labels with dots between them. Those that are ASCII are left alone.
    :raises ValueError: a label is not ASCII and no U-label either. The text is fit for a reply.
    """
    return ".".join(map(_a_label, domain.split(".")))


def to_u_labels(domain: str) -> str:
    """
    Give the labels that are not ASCII the one form that IDNA 2008 has: lower case and composed.

    :param domain: labels with dots between them. Those that are ASCII are left alone.
    :raises ValueError: as :func:`to_a_labels`, but not every label is known to be good.
    """
    return ".".join(map(_mapped, domain.split(".")))


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.alabel(_mapped(label)).decode("ascii")
    except idna.IDNAError:
        raise _refusal() from None


def _mapped(label: str) -> str:
    if label.isascii():
        return label
    try:
        mapped = idna.uts46_remap(label)
    except idna.IDNAError:
        raise _refusal() from None
    # RFC 5890 section 2.3.2.1: a U-label has at least one character that is not ASCII. Some dots
    # that are not ASCII are mapped to one that is; in RFC 6531 they are no dots.
    if mapped.isascii() or "." in mapped or len(mapped) > _MAX_U_LABEL:
        raise _refusal()
    return mapped


def _refusal() -> ValueError:
    return ValueError("the domain has a label that IDNA does not admit")
