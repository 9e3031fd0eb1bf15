"""
Coverage-guided fuzzing of what reads a client's octets. Its own command, not a part of the tests::

    python -m tests.fuzz all --seconds 600
    python -m tests.fuzz framing --runs 1000000
    python -m tests.fuzz framing fuzz-framing-0123456789ab

The last one plays one input, as it was written to a file by a run that failed.

A module for each target. It has ``check(data)``, which raises for an input that goes wrong;
``SEEDS``, the inputs to begin with; and ``TOKENS``, the words to put into others.
"""
