"""Fault injection on real processes: a seeded plan is played, and the vendors' ledgers are judged. ``make faults``."""
