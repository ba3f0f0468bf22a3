"""``make demo`` and ``make run``: everything on one machine, with emulated vendors and a tour of edits on both sides."""
