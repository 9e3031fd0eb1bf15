"""
Faults under load, and proof that nothing is lost by them.

``python -m tests.chaos --rounds 200 --seed 1`` has 200 random rounds; ``--help`` says more.
"""
