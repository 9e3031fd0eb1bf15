"""Servers of others' libraries, as programs: ``python -m bench.servers.NAME PORT``."""
