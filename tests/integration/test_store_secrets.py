"""Secrets are encrypted, and a shared token is minted once however many workers want a new one."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from support.clock import FakeClock
from sync_worker.config import key_file
from sync_worker.errors import AuthFailed, ConfigError, SystemUnavailable
from sync_worker.store.secrets import MARGIN, MINT_LEASE, Secret, SecretBox, SecretStore
from sync_worker.store.session import Database
from sync_worker.store.tables import secret

KEY = Fernet.generate_key().decode()


class Mint:
    """Counts how often a token was made."""

    def __init__(self, lifetime: float | None = 3600.0) -> None:
        self.count = 0
        self.lifetime = lifetime
        self._lock = threading.Lock()

    def __call__(self) -> tuple[str, float | None]:
        with self._lock:
            self.count += 1
            return f"token-{self.count}", self.lifetime


@pytest.fixture
def secrets(db: Database) -> SecretStore:
    return SecretStore(db, SecretBox([KEY]))


def test_what_is_put_comes_back_and_every_change_raises_the_version(secrets: SecretStore) -> None:
    assert secrets.get("t") is None
    assert secrets.put("t", "grün 🙂", 9.0) == 1
    assert secrets.get("t") == Secret("grün 🙂", 1, 9.0)
    assert secrets.put("t", "other") == 2
    assert secrets.get("t") == Secret("other", 2, None)


def test_the_database_never_holds_the_plain_value(db: Database, secrets: SecretStore) -> None:
    secrets.put("t", "hunter2")
    with db.read() as conn:
        assert b"hunter2" not in conn.execute(select(secret.c.value)).scalar_one()


def test_a_secret_does_not_show_itself(secrets: SecretStore) -> None:
    secrets.put("t", "hunter2")
    assert "hunter2" not in repr(secrets.get("t"))


def test_a_token_is_minted_when_there_is_none_and_then_used(secrets: SecretStore, clock: FakeClock) -> None:
    mint = Mint()
    assert secrets.refresh("t", mint) == Secret("token-1", 1, clock.time + 3600)
    assert secrets.refresh("t", mint).version == 1
    assert mint.count == 1


def test_a_token_about_to_end_is_minted_again(secrets: SecretStore, clock: FakeClock) -> None:
    mint = Mint()
    secrets.refresh("t", mint)
    clock.advance(3600 - MARGIN - 1)
    assert secrets.refresh("t", mint).version == 1
    clock.advance(1)
    assert secrets.refresh("t", mint).value == "token-2"


def test_a_rejected_token_is_minted_again_unless_somebody_already_did(secrets: SecretStore) -> None:
    mint = Mint(lifetime=None)
    first = secrets.refresh("t", mint)
    second = secrets.refresh("t", mint, rejected_version=first.version)
    late = secrets.refresh("t", mint, rejected_version=first.version)
    assert (second.value, late, mint.count) == ("token-2", second, 2)


def test_many_workers_that_find_the_token_rejected_mint_once(database_url: str) -> None:
    processes = [Database(database_url) for _ in range(3)]
    stores = [SecretStore(db, SecretBox([KEY])) for db in processes]
    mint = Mint()
    rejected = stores[0].refresh("t", mint)
    start = threading.Barrier(12, timeout=20)

    def work(number: int) -> Secret:
        start.wait()
        return stores[number % 3].refresh("t", mint, rejected_version=rejected.version)

    with ThreadPoolExecutor(12) as pool:
        renewed = set(pool.map(work, range(12)))
    assert renewed == {stores[0].get("t")}
    assert mint.count == 2
    for db in processes:
        db.close()


def test_minting_holds_no_lock(db: Database, secrets: SecretStore) -> None:
    def mint() -> tuple[str, float | None]:
        secrets.put("other", "written while minting")
        return "token", None

    assert secrets.refresh("t", mint).value == "token"
    assert secrets.get("other") is not None


def test_a_failed_mint_is_raised_to_its_caller_and_the_next_one_may_try(secrets: SecretStore) -> None:
    def refuse() -> tuple[str, float | None]:
        raise AuthFailed("wrong credentials")

    with pytest.raises(AuthFailed):
        secrets.refresh("t", refuse)
    assert secrets.refresh("t", Mint()).value == "token-1"


def test_those_who_waited_for_a_failed_mint_do_not_try_the_credentials_again(db: Database) -> None:
    minting, waiting = threading.Event(), threading.Event()
    tries: list[str] = []

    def refuse() -> tuple[str, float | None]:
        tries.append("first")
        minting.set()
        assert waiting.wait(20)
        raise AuthFailed("wrong credentials")

    def seen_to_wait(_seconds: float) -> None:
        waiting.set()
        threading.Event().wait(0.005)

    first = SecretStore(db, SecretBox([KEY]))
    second = SecretStore(db, SecretBox([KEY]), sleep=seen_to_wait)
    with ThreadPoolExecutor(2) as pool:
        failed = pool.submit(first.refresh, "t", refuse)
        assert minting.wait(20)
        waited = pool.submit(second.refresh, "t", refuse)
        with pytest.raises(AuthFailed):
            failed.result(20)
        with pytest.raises(SystemUnavailable):
            waited.result(20)
    assert tries == ["first"]


def test_a_worker_that_died_while_minting_is_replaced_after_its_lease(db: Database, clock: FakeClock) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        clock.advance(MINT_LEASE / 2)

    store = SecretStore(db, SecretBox([KEY]), sleep=nap)
    with db.write() as conn:
        assert store._take_claim(conn, "t", None) == 1
    assert store.refresh("t", Mint()).value == "token-1"
    assert len(naps) == 2


def test_a_mint_that_outlived_its_lease_does_not_overwrite_a_younger_token(db: Database, clock: FakeClock) -> None:
    store = SecretStore(db, SecretBox([KEY]))

    def slow() -> tuple[str, float | None]:
        clock.advance(MINT_LEASE)
        assert store.refresh("t", lambda: ("young", None)).value == "young"
        return "old", None

    assert store.refresh("t", slow).value == "young"
    assert store.get("t") == Secret("young", 1, None)


def test_a_new_key_in_front_still_opens_what_the_old_one_closed(db: Database) -> None:
    SecretStore(db, SecretBox([KEY])).put("t", "v")
    rotated = SecretStore(db, SecretBox([Fernet.generate_key().decode(), KEY]))
    found = rotated.get("t")
    assert found is not None
    assert found.value == "v"


def test_a_lost_key_is_named_for_what_people_typed_and_a_token_is_simply_minted_again(db: Database) -> None:
    SecretStore(db, SecretBox([KEY])).put("t", "v")
    stranger = SecretStore(db, SecretBox([Fernet.generate_key().decode()]))
    with pytest.raises(ConfigError, match=r"secrets\.key"):
        stranger.get("t")
    assert stranger.refresh("t", Mint()).value == "token-1"


@pytest.mark.parametrize("keys", [[], [""], ["short"], [KEY, "x" * 44]])
def test_a_key_that_is_none_is_refused_without_being_shown(keys: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.key") as refused:
        SecretBox(keys)
    assert KEY not in str(refused.value)


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret.key"
    start = threading.Barrier(8, timeout=20)

    def work(_number: int) -> str:
        start.wait()
        return key_file.load_or_make(path)[0]

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(work, range(8)))
    assert keys == {path.read_text().strip()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret.key"]
    assert SecretBox([*keys]).open(SecretBox([*keys]).close("v")) == "v"


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    key_file.load_or_make(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        key_file.load_or_make(path)
