"""Limits of the system that a measurement needs to be higher."""

from __future__ import annotations

import resource

# Descriptors that a process needs beside its clients'.
_OTHER_FILES = 100


def allow_clients(count: int) -> None:
    """
    Raise the limit of open files, for this process and for those that it starts.

    :raises SystemExit: as many are not allowed.
    """
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed, {hard} are allowed (ulimit -n)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
