"""Measuring a server under a load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench import proc
from bench.contenders.contender import Server
from bench.figures import Figures, latency
from bench.generator.spec import Spec
from bench.loads import Load
from bench.sending import SMTP_SOURCE, Send, generator, smtp_source

MIB = 2**20
# Share of the messages that are sent before, and how many clients are enough for that.
_WARM_UP, _WARM_UP_CLIENTS = 0.1, 20
# Seconds that messages are sent for at a rate.
_LONGEST = 30
# Of which a share is sent where no messages are counted.
_WARM_UP_MESSAGES = 1_000
# Share of the messages whose latency is looked at where smtp-source has sent the others.
_TIMED = 0.5


def spec_of(load: Load, server: Server, messages: int, rate: float = 0) -> Spec:
    """:returns: a load as the generator is told."""
    return Spec(
        server.host,
        server.port,
        messages,
        clients=min(load.clients, messages),
        size=load.size,
        kept=load.kept,
        pipelined=load.pipelined,
        tls=load.tls,
        recipients=load.recipients,
        rate=rate,
    )


def warm_up(server: Server, load: Load, messages: int) -> None:
    """Send what is not counted."""
    some = max(int(messages * _WARM_UP), 1)
    spec = spec_of(load, server, some)._replace(clients=min(load.clients, some, _WARM_UP_CLIENTS))
    with _ready(spec, load) as send:
        send()


def saturate(server: Server, load: Load, messages: int) -> Figures:
    """
    Send messages as fast as they are taken.

    :returns: ``cost``, ``rate``, ``peak``, the shares of processor time and, where the generator
        sent, the latencies.
    """
    proc.forget_peak(server.pid)
    with _ready(spec_of(load, server, messages), load) as send:
        return _watched(server, send, messages)


def pace(server: Server, load: Load, messages: int, rate: float) -> Figures:
    """
    Send messages at a rate, whatever becomes of those before, for half a minute at most.

    :returns: the latencies, ``cost`` and the shares of processor time.
    """
    messages = min(messages, max(int(rate * _LONGEST), 1))
    with generator(spec_of(load, server, messages, rate)) as send:
        return _watched(server, send, messages)


def measure(server: Server, load: Load, messages: int) -> Figures:
    """:returns: what a load costs, and how long its messages take."""
    warm_up(server, load, messages)
    figures = dict(saturate(server, load, messages))
    if "p50" not in figures:
        timed = max(int(messages * _TIMED), 1)
        with generator(spec_of(load, server, timed)) as send:
            figures |= latency(send().latencies)
    return figures


def idle_memory(server: Server, load: Load) -> Figures:
    """:returns: what the clients of a load hold that have said EHLO and nothing more."""
    warm_up(server, load, _WARM_UP_MESSAGES)
    before = proc.resident(server.pid)
    with generator(spec_of(load, server, 0)._replace(clients=load.clients)):
        grown = proc.resident(server.pid) - before
    return {"memory": grown / 1024 / load.clients}


@contextmanager
def _ready(spec: Spec, load: Load) -> Iterator[Send]:
    """Have what sends ready to begin: smtp-source, which needs less of the machine, if it can."""
    if load.is_plain and SMTP_SOURCE is not None:
        yield smtp_source(spec)
    else:
        with generator(spec) as send:
            yield send


def _watched(server: Server, send: Send, messages: int) -> Figures:
    before = proc.usage(server.pid)
    sent = send()
    used = proc.usage(server.pid).since(before)
    figures = {
        "cost": used.processor / messages * 1e6,
        "rate": messages / sent.seconds,
        "peak": proc.peak(server.pid) / MIB,
        "server": used.processor / used.seconds,
        "alone": max(used.processes.values()) / used.seconds,
        "load": sent.processor / used.seconds,
        "others": max(used.machine - used.processor - sent.processor, 0) / used.seconds,
        "switches": used.switches / messages * 1e3,
    }
    return {**figures, **latency(sent.latencies)} if sent.latencies else figures
