"""A new key for what is stored encrypted. What is stored moves to it; the old key can be read with until the end."""

from __future__ import annotations

from sqlalchemy import Connection

from sync_worker.config import key_file
from sync_worker.desk.shared import ACTOR, note
from sync_worker.errors import PermanentError
from sync_worker.store import rotation
from sync_worker.store.rotation import Rotated
from sync_worker.store.secrets import SecretBox
from sync_worker.wiring import App


def rotate(app: App, actor: str = ACTOR) -> Rotated:
    """Move everything to a new key of the key file, or to the first one that the configuration gives.

    Raises ``PermanentError`` when the configuration gives one key only, and while another process rotates the file.
    """
    config = app.config
    if config.secrets.key is None:
        with key_file.rotating(config.key_path) as keys:
            return _rotated(app, keys, actor)
    if len(config.secret_keys()) == 1:
        raise PermanentError("secrets.key is one key: a new one has to stand in front of it first")
    return _rotated(app, config.secret_keys(), actor)


def _rotated(app: App, keys: list[str], actor: str) -> Rotated:
    found = rotation.rotate(app.db, SecretBox(keys))

    def journalled(conn: Connection) -> None:
        note(conn, app, [(None, "")], "secrets_rotated", actor, {"renewed": found.renewed, "lost": found.lost})

    app.db.run(journalled)
    return found
