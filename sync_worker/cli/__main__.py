"""``python -m sync_worker.cli``: how our own processes start one another."""

from sync_worker.cli import main

main()
