"""
The load generator, a program of its own: ``python -m bench.generator``, a :class:`.Spec` in JSON.

It imports nothing of what it measures. When its clients are connected it says ``ready``, begins at
the first line of its input, says what it has seen, a :class:`.Sent` in JSON, and lets its clients
go at the end of its input.
"""
