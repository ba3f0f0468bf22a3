"""The contract suite over real systems: those of a sync.toml, wired as the product wires them.

Nothing is written but to systems that are named once more, and what is made there is told at the end. A real vendor has
no back door: what only an emulator can be made to do is left out, by name.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from suite import NOBODY, NOWHERE, Case, Label

from sync_worker import config as configuration
from sync_worker import doctor, logs, wiring
from sync_worker.config import Config
from sync_worker.config.flows import CustomField
from sync_worker.config.values import nearest
from sync_worker.connectors.base import Ask, Connector, Outcome, Write
from sync_worker.errors import ConfigError, SyncError
from sync_worker.events import SIDES
from sync_worker.wiring import App
from sync_worker.wording import counted

APART = 300.0  # seconds by which a vendor's clock may be off; a wrong time zone is hours


class Live:
    """``names``: the systems that the behaviours run over; all that the file has when none is named.

    ``writable``: those of them in which records may be made. Raises ``ConfigError`` of one line.
    """

    def __init__(self, file: str, systems: Sequence[str], writable: Sequence[str]) -> None:
        if not Path(file).is_file():
            raise ConfigError(f"--live: {file} is not there; give the sync.toml of the sandbox")
        with ExitStack() as opened:
            # The key for stored secrets lies in the data directory: what is made here goes with it.
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="sync-live-"))
            self._config = configuration.load(file, {**os.environ, "SYNC_DATA_DIR": folder})
            self.names = _known("--live-system", systems, self._config.systems) or list(self._config.systems)
            self._writable = _known("--live-writes", writable, self.names)
            self._open = opened.pop_all()
        self._file = file
        self._app: App | None = None
        self._run = f"{random.SystemRandom().randrange(100_000, 1_000_000)}"
        self._cases = count(1)
        self._made: dict[str, list[str]] = {name: [] for name in self.names}
        self._secrets = sorted(_secrets(self._config), key=len, reverse=True)

    def open(self) -> None:
        """Wire the application and see that each system lets us in. Raises ``ConfigError`` of one line."""
        if not self.names:
            raise ConfigError(f"{self._file} has no [systems.NAME] to run over")
        logs.configure("warning")
        self._app = self._open.enter_context(doctor.apart(self._config))
        for name in self.names:
            try:
                self._app.systems[name].read_many("customer", [Ask(NOBODY)])
            except SyncError as error:
                said = f"systems.{name} cannot be used: {self.redacted(str(error))}"
                raise ConfigError(f"{said}; sync-worker doctor --config {self._file} says more") from None

    def close(self) -> None:
        self._open.close()

    # --- what runs ---------------------------------------------------------------------------------------------------

    def may_write(self, system: str) -> bool:
        return system in self._writable

    def left_out(self, system: str, *, door: Any, reads: bool) -> str | None:
        """Why a behaviour is not run; None: it is. ``door``: its marker ``back_door``, if it has one."""
        if door is not None:
            return f"needs the emulator's back door: {door.args[0]}"
        if not reads and not self.may_write(system):
            return f"makes records: needs --live-writes {system}"
        return None

    def case(self, system: str) -> Case:
        """The system as its first flow sees it, with a label of its own; what it makes is noted."""
        assert self._app is not None
        return Case(
            system=system,
            connector=Noting(self._view(self._app, system), self._made[system]),  # type: ignore[arg-type]  # hands on the rest
            misconfigured=lambda: self._misconfigured(system),
            missing=NOWHERE[self._config.systems[system].connector],
            now=time.time,
            label=Label(f"{self._run}{next(self._cases):03}"),
            apart=APART,
        )

    def _view(self, app: App, system: str) -> Connector:
        sides = [(flow, side) for flow in app.flows.values() for side in SIDES if flow.systems[side] == system]
        return next((flow.connectors[side] for flow, side in sides), app.systems[system])

    def _misconfigured(self, system: str) -> Connector:
        """As a flow sees the system whose field of its own stands in a column that neither vendor has."""
        assert self._app is not None
        wrong = self._config.model_copy(deep=True)
        flow = next((one for one in wrong.flows.values() if system in (one.erp, one.crm)), None)
        if flow is None:
            pytest.skip(f"{system}: no flow that could have a field of its own")
        nowhere = {side: NOWHERE[wrong.systems[getattr(flow, side)].connector] for side in SIDES}
        flow.custom["region"] = CustomField(**nowhere)
        app = wiring.build(wrong, db=self._app.db, starting=False)
        for connector in app.systems.values():
            self._open.callback(connector.close)
        return self._view(app, system)

    # --- what is told ------------------------------------------------------------------------------------------------

    def redacted(self, text: str) -> str:
        """The text by the rules of the product's logs, and without any secret of this configuration."""
        for secret in self._secrets:
            text = text.replace(secret, logs.MASK)
        return "\n".join(logs.redact(None, "", {"line": line})["line"] for line in text.split("\n"))

    def summary(self) -> Iterator[str]:
        for name in self.names:
            system = self._config.systems[name]
            where = f"{name} ({system.connector} at {urlsplit(system.base_url).hostname})"
            made = list(dict.fromkeys(self._made[name]))
            if not self.may_write(name):
                yield f"{where}: nothing was written; --live-writes {name} lets it make records there"
            elif not made:
                yield f"{where}: no record was made"
            else:
                yield f"{where}: left behind {counted(len(made), 'customer')}, keys {', '.join(made)}"
        if any(self._made.values()):
            yield f'Their names begin with "{Label(self._run).own("name", "")}".'
            yield "sync-worker never deletes: remove them yourself."


class Noting:
    """A connector, and a note of the key of every record that it makes."""

    def __init__(self, connector: Connector, made: list[str]) -> None:
        self._connector = connector
        self._made = made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connector, name)

    def write_many(self, entity: str, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = self._connector.write_many(entity, writes)
        created = [outcome.key for write, outcome in zip(writes, outcomes, strict=True) if write.key is None]
        self._made += [key for key in created if key is not None]
        return outcomes


def _known(option: str, names: Sequence[str], allowed: Collection[str]) -> list[str]:
    """The names, each once. Raises ``ConfigError`` for one that is none of these."""
    for name in names:
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise ConfigError(f"{option}: there is no system {name!r}{nearest(name, allowed)}; systems: {known}")
    return list(dict.fromkeys(names))


def _secrets(config: Config) -> Iterable[str]:
    """Whatever is secret of the systems; a short name of an account stands in many a word, and is none."""
    for system in config.systems.values():
        values: Mapping[str, Any] = dict(system)
        for name, value in values.items():
            if isinstance(value, SecretStr):
                found = value.get_secret_value()
                if len(found) >= 8 or (found and name != "username"):
                    yield found
