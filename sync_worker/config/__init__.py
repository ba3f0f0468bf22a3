"""``sync.toml``: what it may say (docs/reference/configuration.md), and how it is read.

``load`` is what processes call. Whatever is wrong becomes a ``ConfigError`` of one line: which key, which line of the
file, what is allowed. Values may be ``"env:NAME"``; secrets are ``SecretStr``, so no repr, log or error shows them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from sync_worker.config import key_file, sharing, sub_companies
from sync_worker.config.alerts import AlertsConfig
from sync_worker.config.flows import FlowConfig
from sync_worker.config.report import Source, key_lines
from sync_worker.config.systems import KINDS, IntacctConfig, RestConfig, SageCrmConfig, SystemConfig
from sync_worker.config.values import (
    DatabaseUrl,
    QueueUrl,
    SecretKeys,
    Section,
    WebUrl,
    nearest,
    problem,
)
from sync_worker.errors import ConfigError
from sync_worker.events import SIDES

__all__ = [
    "AlertsConfig",
    "Config",
    "FlowConfig",
    "IntacctConfig",
    "RestConfig",
    "SageCrmConfig",
    "SystemConfig",
    "load",
    "parse",
]

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Environment variables that stand for a key of the file, and win over it.
_WINS = {"DATABASE_URL": ("database", "url"), "REDIS_URL": ("queue", "url")}


class DatabaseConfig(Section):
    """``url``: ``sqlite:///FILE`` or ``postgresql+psycopg://…``; DATABASE_URL wins. It may hold a password."""

    url: DatabaseUrl = Field(default="sqlite:///var/sync.db", repr=False)


class QueueConfig(Section):
    """``url``: ``redis://``, ``rediss://`` or ``unix://``; REDIS_URL wins. None: ``run`` starts a server of its own."""

    url: QueueUrl = Field(default=None, repr=False)


class WebConfig(Section):
    """``public_url``: where people and vendors reach the web process, without a slash at the end."""

    public_url: WebUrl = "http://127.0.0.1:8000"


class SecretsConfig(Section):
    """``key``: encrypts what is stored. Several, separated by commas: the first encrypts, all decrypt (rotation)."""

    key: SecretKeys = None


class RetentionConfig(Section):
    """Days that notices and the journal are kept."""

    events_days: float = Field(default=90, ge=1, allow_inf_nan=False)
    journal_days: float = Field(default=730, ge=1, allow_inf_nan=False)


def _var(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("SYNC_DATA_DIR") or "var")


class Config(Section):
    """Everything ``sync.toml`` says, checked. ``path``: the file it came from, None when it came from no file.

    ``data_dir``: where everything of ours lies, ``./var`` unless SYNC_DATA_DIR says otherwise; not created here.
    """

    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    queue: QueueConfig = Field(default_factory=QueueConfig)
    web: WebConfig = Field(default_factory=WebConfig)
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)
    systems: dict[str, SystemConfig] = Field(default_factory=dict)
    flows: dict[str, FlowConfig] = Field(default_factory=dict)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    retention: RetentionConfig = Field(default_factory=RetentionConfig)

    _path: Path | None = PrivateAttr(default=None)
    _data_dir: Path = PrivateAttr(default_factory=lambda: _var(os.environ))
    _key_variable: str | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def data_dir(self) -> Path:
        return self._data_dir

    @property
    def key_path(self) -> Path:
        """Where the key for stored secrets lies when none is configured."""
        return self.data_dir / "secret.key"

    @property
    def key_variable(self) -> str | None:
        """The environment variable that ``secrets.key`` is read from; None: the file says the key itself, or none."""
        return self._key_variable

    def secret_keys(self) -> list[str]:
        """Keys for stored secrets, the encrypting one first; where none is configured, that of ``secret.key``.

        That file is made in the data directory (mode 0600) when it is missing. Raises ``ConfigError``.
        """
        if self.secrets.key is None:
            return key_file.load_or_make(self.key_path)
        return [key.strip() for key in self.secrets.key.get_secret_value().split(",")]

    @model_validator(mode="after")
    def _names_are_names(self) -> Config:
        for kind, table in (("systems", self.systems), ("flows", self.flows)):
            for name in table:
                if not _NAME.fullmatch(name):
                    raise problem((kind, name), "a name is at most 64 letters, digits, - and _")
        return self

    @model_validator(mode="after")
    def _flows_join_an_erp_and_a_crm(self) -> Config:
        for name, flow in self.flows.items():
            for side in SIDES:
                system = flow.erp if side == "erp" else flow.crm
                at = ("flows", name, side)
                if system not in self.systems:
                    known = ", ".join(sorted(self.systems)) or "none is configured"
                    hint = nearest(system, self.systems)
                    raise problem(at, f"there is no system {system!r}{hint}; systems: {known}")
                fitting = [n for n, s in self.systems.items() if KINDS[s.connector] == side]
                if system not in fitting:
                    kind = self.systems[system].connector
                    raise problem(at, f"{system!r} is no {side} ({kind}); allowed: {', '.join(fitting) or 'none yet'}")
        return self

    @model_validator(mode="after")
    def _flows_do_not_mix_up_companies(self) -> Config:
        sharing.check(self.systems, self.flows)
        sub_companies.check(self.systems, self.flows)
        return self

    def sharing(self, flow: str) -> list[str]:
        """The flows over the same records of a CRM as this one, itself included, in the file's order (E21)."""
        return sharing.over_the_same_crm(self.flows, flow)


def load(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration from ``path``, else SYNC_CONFIG, else ``./sync.toml``. Raises ``ConfigError`` of one line."""
    env = os.environ if environ is None else environ
    file = Path(path or env.get("SYNC_CONFIG") or "sync.toml")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{file} is not there: give --config FILE or SYNC_CONFIG, or copy sync.example.toml"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    return parse(text, env, file)


def parse(text: str, environ: Mapping[str, str] | None = None, path: Path | None = None) -> Config:
    """The configuration in ``text``. ``path``: for messages and ``Config.path``. Raises ``ConfigError`` of one line."""
    env = os.environ if environ is None else environ
    file = str(path or "sync.toml")
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside wrong TOML: a number or a depth that Python does not take
        raise ConfigError(f"{file} is no valid TOML: {error}") from None
    source = Source(file, key_lines(text))
    settings = _resolve(given, (), env, source)
    if source.unset:
        raise source.not_set()
    _environment_wins(settings, env, source)
    try:
        config = Config.model_validate(settings, context={"folder": path.parent if path else Path()})
    except ValidationError as error:
        raise source.first(error) from None
    config._path = path
    config._data_dir = _var(env)
    config._key_variable = source.from_env.get(("secrets", "key"))
    return config


def _resolve(value: Any, at: tuple[str, ...], env: Mapping[str, str], source: Source) -> Any:
    """The value with every ``"env:NAME"`` in it replaced by what the environment says."""
    if isinstance(value, dict):
        return {key: _resolve(inner, (*at, key), env, source) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, (*at, str(n)), env, source) for n, inner in enumerate(value)]
    if not isinstance(value, str) or not value.startswith("env:"):
        return value
    named = _ENV.fullmatch(value)
    if named is None:
        raise source.error(at, 'must be "env:NAME", NAME being letters, digits and _')
    source.from_env[at] = named[1]
    if named[1] not in env:
        source.unset.append(at)
    return env.get(named[1])


def _environment_wins(settings: dict[str, Any], env: Mapping[str, str], source: Source) -> None:
    for variable, (section, key) in _WINS.items():
        table = settings.setdefault(section, {})
        if env.get(variable) and isinstance(table, dict):
            table[key] = env[variable]
            source.from_env[section, key] = variable
    database = settings["database"]
    if isinstance(database, dict):
        database.setdefault("url", f"sqlite:///{_var(env) / 'sync.db'}")
