"""``secrets rotate``: everything stored moves to a new key, and whatever stops it, nothing becomes unreadable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Connection, select
from typer.testing import CliRunner, Result

from support.clock import FakeClock
from sync_worker import config as configuration
from sync_worker import doctor
from sync_worker.cli import app
from sync_worker.config import key_file
from sync_worker.errors import ConfigError, PermanentError
from sync_worker.store import rotation
from sync_worker.store.secrets import SecretBox, SecretStore
from sync_worker.store.session import Database
from sync_worker.store.tables import journal, secret

OLD, NEW, GONE = (Fernet.generate_key().decode() for _ in range(3))
VALUES = {f"token {n}": f"value {n}" for n in range(4)}


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def stored(db: Database) -> Database:
    store = SecretStore(db, SecretBox([OLD]))
    for name, value in VALUES.items():
        store.put(name, value, 9.0)
    return db


def read(db: Database, *keys: str) -> dict[str, str]:
    store = SecretStore(db, SecretBox(keys))
    return {name: found.value for name in VALUES if (found := store.get(name)) is not None}


def versions(db: Database) -> list[tuple[str, int, float]]:
    with db.read() as conn:
        return [tuple(row) for row in conn.execute(select(secret.c.name, secret.c.version, secret.c.expires_at))]


def test_everything_is_encrypted_anew_and_stays_the_same_value(stored: Database) -> None:
    before = versions(stored)
    assert rotation.rotate(stored, SecretBox([NEW, OLD])) == rotation.Rotated(4, 0, 0)
    assert read(stored, NEW) == VALUES
    assert sorted(versions(stored)) == sorted(before), "no worker takes it for another token"
    with pytest.raises(ConfigError, match="another key"):
        read(stored, OLD)


@pytest.mark.parametrize("after", range(4))
def test_a_rotation_that_is_killed_leaves_everything_readable_and_is_gone_on_with(
    stored: Database, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, left = rotation._renew, [after]

    def renew(conn: Connection, box: SecretBox, name: str) -> bool:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return plain(conn, box, name)

    monkeypatch.setattr(rotation, "_renew", renew)
    with pytest.raises(Killed):
        rotation.rotate(stored, SecretBox([NEW, OLD]))
    monkeypatch.undo()
    assert read(stored, NEW, OLD) == VALUES
    assert rotation.rotate(stored, SecretBox([NEW, OLD])) == rotation.Rotated(4 - after, after, 0)
    assert read(stored, NEW) == VALUES


def test_what_is_stored_while_it_runs_is_kept_and_is_encrypted_anew_too(
    stored: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, other = rotation._renew, SecretStore(stored, SecretBox([OLD]))

    def renew(conn: Connection, box: SecretBox, name: str) -> bool:
        done = plain(conn, box, name)
        if name == "token 3" and other_puts:
            other_puts.pop()
            other._put(conn, "token 0", "minted meanwhile", None)
        return done

    other_puts = [True]
    monkeypatch.setattr(rotation, "_renew", renew)
    rotation.rotate(stored, SecretBox([NEW, OLD]))
    assert not other_puts
    assert read(stored, NEW) == {**VALUES, "token 0": "minted meanwhile"}


def test_what_no_key_opens_is_left_alone_and_counted_and_a_claim_to_mint_is_no_value(stored: Database) -> None:
    SecretStore(stored, SecretBox([GONE])).put("token 1", "lost")
    SecretStore(stored, SecretBox([OLD])).refresh("minted", lambda: ("new", None))
    assert rotation.rotate(stored, SecretBox([NEW, OLD])) == rotation.Rotated(4, 0, 1)
    assert SecretStore(stored, SecretBox([GONE])).get("token 1") is not None


# --- the key file ----------------------------------------------------------------------------------------------------


def test_the_key_file_holds_both_keys_until_the_end_and_then_the_new_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    old = key_file.load_or_make(path)
    with key_file.rotating(path) as keys:
        assert key_file.load_or_make(path) == keys
        assert keys[1:] == old
        with pytest.raises(PermanentError, match="another process rotates"), key_file.rotating(path):
            pass
    assert key_file.load_or_make(path) == keys[:1]


def test_a_rotation_of_the_key_file_that_was_stopped_goes_on_with_the_same_new_key(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    key_file.load_or_make(path)
    with pytest.raises(Killed), key_file.rotating(path) as first:
        raise Killed
    with key_file.rotating(path) as second:
        assert second == first
    assert key_file.load_or_make(path) == first[:1]


def test_a_running_process_takes_the_new_key_of_the_file_by_itself(db: Database, tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    running = SecretStore(db, SecretBox(key_file.load_or_make(path), lambda: key_file.load_or_make(path)))
    running.put("token 0", "value 0")
    with key_file.rotating(path) as keys:
        running.put("token 1", "value 1")
        assert rotation.rotate(db, SecretBox(keys)) == rotation.Rotated(1, 1, 0), "it wrote with the new one already"
    assert [found.value for name in ("token 0", "token 1") if (found := running.get(name))] == ["value 0", "value 1"]


# --- the command -----------------------------------------------------------------------------------------------------


class Installed:
    """A configuration over a migrated database, and the commands on it."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, key: str = "") -> None:
        self.file = folder / "sync.toml"
        self.file.write_text(f"[database]\nurl = '{url}'\n{key}")
        monkeypatch.setenv("SYNC_DATA_DIR", str(folder / "var"))
        monkeypatch.delenv("DATABASE_URL", raising=False)
        self.db = Database(url, clock=FakeClock())

    @property
    def config(self) -> configuration.Config:
        return configuration.load(self.file)

    def fill(self) -> None:
        store = SecretStore(self.db, SecretBox(self.config.secret_keys()))
        for name, value in VALUES.items():
            store.put(name, value)

    def rotate(self) -> Result:
        return CliRunner().invoke(app, ["secrets", "rotate", "--config", str(self.file)])

    def doctor(self) -> tuple[bool, str, str]:
        check = doctor._secrets(self.config, set())
        return check.ok, check.detail, check.fix


@contextmanager
def installed(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, key: str = "") -> Iterator[Installed]:
    made = Installed(folder, url, monkeypatch, key)
    yield made
    made.db.close()


def test_rotate_with_a_key_file_is_one_command_and_is_journalled(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed(tmp_path, sqlite_url, monkeypatch) as it:
        old = it.config.secret_keys()
        it.fill()
        done = it.rotate()
        new = it.config.secret_keys()
        assert (done.exit_code, len(new), new == old) == (0, 1, False)
        assert read(it.db, *new) == VALUES
        assert "4 stored secrets encrypted anew" in done.stdout
        assert "running processes take it by themselves" in done.stdout
        assert not any(key in done.output for key in (*old, *new))
        with it.db.read() as conn:
            told = conn.execute(select(journal.c.what, journal.c.actor, journal.c.after)).one()
        assert (told.what, told.actor) == ("secrets_rotated", "cli")
        assert json.dumps(told.after) == '{"renewed": 4, "lost": 0}'


def test_doctor_says_that_a_rotation_was_stopped_and_rotate_ends_it(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installed(tmp_path, sqlite_url, monkeypatch) as it:
        it.fill()
        with pytest.raises(Killed), key_file.rotating(it.config.key_path):
            raise Killed
        ok, _, fix = it.doctor()
        assert (ok, fix) == (False, "a rotation was stopped: run sync-worker secrets rotate again")
        assert it.rotate().exit_code == 0
        assert it.doctor()[0]
        assert read(it.db, *it.config.secret_keys()) == VALUES


def test_rotate_with_a_key_from_the_environment_shows_a_new_one_then_moves_to_it_then_says_to_drop_the_old(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_SECRET_KEY", OLD)
    with installed(tmp_path, sqlite_url, monkeypatch, '[secrets]\nkey = "env:SYNC_SECRET_KEY"\n') as it:
        it.fill()
        first = it.rotate()
        new = first.stdout.strip()
        assert first.exit_code == 1
        assert Fernet(new)
        assert "nothing is rotated yet" in first.stderr
        assert "in front of what SYNC_SECRET_KEY holds now, restart every process" in first.stderr
        assert OLD not in first.output
        assert read(it.db, OLD) == VALUES

        monkeypatch.setenv("SYNC_SECRET_KEY", f"{new},{OLD}")
        assert it.doctor() == (
            True,
            "2 keys, given by the configuration",
            "sync-worker secrets rotate moves everything to the first; then leave only that one",
        )
        second = it.rotate()
        assert second.exit_code == 0
        assert "now leave only the first key in SYNC_SECRET_KEY, and restart every process" in second.stdout
        assert not any(key in second.output for key in (OLD, new))
        assert "0 stored secrets encrypted anew, 4 were already" in it.rotate().stdout

        monkeypatch.setenv("SYNC_SECRET_KEY", new)
        assert it.doctor() == (True, "given by the configuration", "")
        assert read(it.db, *it.config.secret_keys()) == VALUES


def test_rotate_says_what_no_key_opens(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with installed(tmp_path, sqlite_url, monkeypatch, f'[secrets]\nkey = "{NEW},{OLD}"\n') as it:
        SecretStore(it.db, SecretBox([GONE])).put("t", "v")
        done = it.rotate()
        assert done.exit_code == 0
        assert "1 were encrypted with a key that is gone" in done.stdout
        assert "[secrets] key in sync.toml" in done.stdout
