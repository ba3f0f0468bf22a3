"""Telling a person what waits too long: one message for everything that stands, and quiet when it is over.

``standing`` reads what stands now, ``rule`` decides purely what is worth a message, ``message`` words it, ``mail`` and
``hook`` send it, and ``turn`` does all of this once for every target and remembers what was told.
"""
