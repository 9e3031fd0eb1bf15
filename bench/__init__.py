"""The benchmark: what a message costs here and elsewhere. ``python -m bench --help`` tells more."""
