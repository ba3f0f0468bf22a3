"""A worker process over vendors that answer at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench import instant
from sync_worker import config, worker


def main() -> int:
    """Like ``sync-worker worker``, until a stop signal; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.instant")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    instant.use(edited=True)
    return worker.main(config.load(given.config), given.threads)


if __name__ == "__main__":
    sys.exit(main())
