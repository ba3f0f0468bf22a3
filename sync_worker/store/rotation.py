"""Rotating the key for stored secrets: every value that another key closed is closed anew with the first one.

Row by row, each in a transaction of its own: wherever this is stopped, every value can be read with one of the keys,
and whoever rotates next goes on. A value that is stored meanwhile is never overwritten with an older one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, select, update

from sync_worker.store.secrets import SecretBox, Standing
from sync_worker.store.session import Database
from sync_worker.store.tables import secret


@dataclass(frozen=True, slots=True)
class Rotated:
    """``renewed``: closed anew. ``current``: the first key had closed them already. ``lost``: no key opens them."""

    renewed: int
    current: int
    lost: int


def rotate(db: Database, box: SecretBox) -> Rotated:
    """Close everything with the box's first key, until nothing is left that another one of its keys closed."""
    renewed = 0
    current = standings(db, box)["current"]
    while old := [name for name, standing in _standing(db, box) if standing == "old"]:
        renewed += sum(db.run(partial(_renew, box=box, name=name)) for name in old)
    return Rotated(renewed, current, standings(db, box)["lost"])


def standings(db: Database, box: SecretBox) -> Counter[Standing]:
    """How many stored values each kind of key closed."""
    return Counter(standing for _, standing in _standing(db, box))


def _standing(db: Database, box: SecretBox) -> list[tuple[str, Standing]]:
    with db.read() as conn:
        rows = conn.execute(select(secret.c.name, secret.c.value)).all()
    return [(row.name, box.standing(row.value)) for row in rows if row.value]  # a claim to mint holds no value


def _renew(conn: Connection, box: SecretBox, name: str) -> bool:
    """The version stays: it is the same value. Was it this call that closed it anew?"""
    value = conn.execute(select(secret.c.value).where(secret.c.name == name)).scalar_one_or_none()
    if not value or box.standing(value) != "old":
        return False
    same = update(secret).where(secret.c.name == name, secret.c.value == value)
    return conn.execute(same.values(value=box.renew(value))).rowcount == 1
