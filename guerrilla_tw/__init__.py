"""
An SMTP daemon that receives mail, on Twisted.

The names that an embedder or the author of a processor needs can be imported from here. Each is
looked up when it is first used, because some of the modules behind them install a reactor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guerrilla_tw.backends.batching import process_batches_with as process_batches_with
    from guerrilla_tw.backends.chain import initialize_with as initialize_with
    from guerrilla_tw.backends.chain import process_with as process_with
    from guerrilla_tw.backends.chain import process_with_deferred as process_with_deferred
    from guerrilla_tw.backends.chain import shutdown_with as shutdown_with
    from guerrilla_tw.backends.gateway import InitializationError as InitializationError
    from guerrilla_tw.backends.registry import Constructor as Constructor
    from guerrilla_tw.backends.registry import Decorator as Decorator
    from guerrilla_tw.backends.registry import ProcessorPlugin as ProcessorPlugin
    from guerrilla_tw.backends.results import NO_SUCH_USER as NO_SUCH_USER
    from guerrilla_tw.backends.results import QUOTA_EXCEEDED as QUOTA_EXCEEDED
    from guerrilla_tw.backends.results import STORE_UNAVAILABLE as STORE_UNAVAILABLE
    from guerrilla_tw.backends.results import TOO_LARGE_FOR_STORE as TOO_LARGE_FOR_STORE
    from guerrilla_tw.backends.results import USER_SUSPENDED as USER_SUSPENDED
    from guerrilla_tw.backends.results import RecipientResults as RecipientResults
    from guerrilla_tw.backends.results import Result as Result
    from guerrilla_tw.config import Config as Config
    from guerrilla_tw.config import ConfigError as ConfigError
    from guerrilla_tw.config import Duration as Duration
    from guerrilla_tw.config import LoadedConfig as LoadedConfig
    from guerrilla_tw.config import ServerConfig as ServerConfig
    from guerrilla_tw.config import TLSConfig as TLSConfig
    from guerrilla_tw.config import load_config as load_config
    from guerrilla_tw.daemon import Guerrilla as Guerrilla
    from guerrilla_tw.events import Event as Event
    from guerrilla_tw.interfaces import IBackend as IBackend
    from guerrilla_tw.interfaces import IBackendService as IBackendService
    from guerrilla_tw.interfaces import IInitializer as IInitializer
    from guerrilla_tw.interfaces import IProcessor as IProcessor
    from guerrilla_tw.interfaces import IProcessorPlugin as IProcessorPlugin
    from guerrilla_tw.interfaces import IRecipientResults as IRecipientResults
    from guerrilla_tw.interfaces import IResult as IResult
    from guerrilla_tw.interfaces import IShutdowner as IShutdowner
    from guerrilla_tw.interfaces import Task as Task
    from guerrilla_tw.mail.address import Address as Address
    from guerrilla_tw.mail.body import Body as Body
    from guerrilla_tw.mail.envelope import Envelope as Envelope
    from guerrilla_tw.mail.headers import Headers as Headers
    from guerrilla_tw.processes.supervisor import Supervisor as Supervisor
    from guerrilla_tw.sources import ConfigSource as ConfigSource

__version__ = "0.1.0"

_HOMES = {
    "guerrilla_tw.backends.batching": ("process_batches_with",),
    "guerrilla_tw.backends.chain": (
        "initialize_with",
        "process_with",
        "process_with_deferred",
        "shutdown_with",
    ),
    "guerrilla_tw.backends.gateway": ("InitializationError",),
    "guerrilla_tw.backends.registry": ("Constructor", "Decorator", "ProcessorPlugin"),
    "guerrilla_tw.backends.results": (
        "NO_SUCH_USER",
        "QUOTA_EXCEEDED",
        "STORE_UNAVAILABLE",
        "TOO_LARGE_FOR_STORE",
        "USER_SUSPENDED",
        "RecipientResults",
        "Result",
    ),
    "guerrilla_tw.config": (
        "Config",
        "ConfigError",
        "Duration",
        "LoadedConfig",
        "ServerConfig",
        "TLSConfig",
        "load_config",
    ),
    "guerrilla_tw.daemon": ("Guerrilla",),
    "guerrilla_tw.events": ("Event",),
    "guerrilla_tw.interfaces": (
        "IBackend",
        "IBackendService",
        "IInitializer",
        "IProcessor",
        "IProcessorPlugin",
        "IRecipientResults",
        "IResult",
        "IShutdowner",
        "Task",
    ),
    "guerrilla_tw.mail.address": ("Address",),
    "guerrilla_tw.mail.body": ("Body",),
    "guerrilla_tw.mail.envelope": ("Envelope",),
    "guerrilla_tw.mail.headers": ("Headers",),
    "guerrilla_tw.processes.supervisor": ("Supervisor",),
    "guerrilla_tw.sources": ("ConfigSource",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *(name for names in _HOMES.values() for name in names)]
