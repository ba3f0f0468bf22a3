"""``make demo`` and ``make run``: all of it on one machine, with emulated vendors and a tour of edits on both sides."""
