"""What single values of ``sync.toml`` may be, and the base of its sections."""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from mappings.codecs import country_code

Path = tuple[str, ...]
# The client's own options about TLS -> what they may say, so that a certificate is verified.
_VERIFIES = {"ssl_cert_reqs": ("required",), "ssl_check_hostname": ("true", "yes", "y", "1", "t")}


def problem(at: Path, text: str) -> PydanticCustomError:
    """An error about the key ``at``, as seen from the section that raises it. ``text``: what is wrong and allowed."""
    return PydanticCustomError("config", "{text}", {"text": text, "at": at})


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the most similar known word, else nothing."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


class Section(BaseModel):
    """A table of the file. Immutable; an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in given:
                if key not in known:
                    allowed = ", ".join(known)
                    raise problem((str(key),), f"unknown key{nearest(str(key), known)}; allowed: {allowed}")
        return given


def blank_is_none(value: Any) -> Any:
    return None if value == "" else value


def _database_url(url: str) -> str:
    """Accepts the short forms that hosting services hand out; the only PostgreSQL driver here is psycopg."""
    for short in ("postgres://", "postgresql://"):
        if url.startswith(short):
            return "postgresql+psycopg://" + url.removeprefix(short)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    return url


def _queue_url(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(url)
        number = parts.path.removeprefix("/")
        socket = parts.scheme == "unix"
        fine = number if socket else parts.port != 0 and (not number or number.isdecimal())
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be like redis://:PASSWORD@HOST:PORT/NUMBER (or rediss://), or unix:///PATH")
    for name, value in parse_qsl(parts.query):
        if value.casefold() not in _VERIFIES.get(name.casefold(), (value.casefold(),)):
            raise ValueError(
                f"{name} would leave the server's certificate unverified; name its authority: ssl_ca_certs"
            )
    return url


def address(url: str, *schemes: str) -> SplitResult | None:
    """The parts of an address that can be called; None for another scheme, no host, or what no address may hold."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in schemes and parts.hostname and parts.port != 0 and url.isprintable() and " " not in url
        (parts.hostname or "").encode("idna")
    except ValueError:
        return None
    return parts if fine else None


def _web_url(url: str) -> str:
    parts = address(url, "http", "https")
    if parts is None or parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be an address like https://host/path, without user, password and query")
    return url.rstrip("/")


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"is no IANA time zone{nearest(name, available_timezones())}") from None
    return name


def _country(code: str) -> str:
    if code and not (len(code) == 2 and code.isascii() and code.isalpha()):
        raise ValueError('must be a two-letter country code like "GB", or ""')
    known = country_code(code) if code else ""
    if known != code.upper():
        hint = f"; did you mean {known!r}?" if known else ""
        raise ValueError(f'must be a two-letter country code of ISO 3166 like "GB", or ""{hint}')
    return code.upper()


def _secret(secret: SecretStr) -> SecretStr:
    if any(character < " " or character == "\x7f" for character in secret.get_secret_value()):
        raise ValueError("must not hold a line break or another control character; is there one at its end?")
    return secret


def _webhook_secret(secret: SecretStr) -> SecretStr:
    """Standard Webhooks: the prefix, then base64 of the key."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not text.startswith("whsec_") or len(key) < 16:
        raise ValueError("must be whsec_ and then the base64 of at least 16 random bytes")
    return secret


def _secret_keys(secret: SecretStr) -> SecretStr:
    for key in secret.get_secret_value().split(","):
        try:
            raw = base64.b64decode(key.strip(), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raw = b""
        if len(raw) != 32:
            raise ValueError("must be 32 random bytes in URL-safe base64; several keys are separated by commas")
    return secret


def _texts(value: Any) -> Any:
    """One value stands for a list of one; numbers count as their text."""
    many = value if isinstance(value, list | tuple) else [value]
    return tuple(str(one) if isinstance(one, str | int | float) else one for one in many)


Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1), AfterValidator(_secret)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
QueueUrl = Annotated[Annotated[str, AfterValidator(_queue_url)] | None, BeforeValidator(blank_is_none)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Country = Annotated[str, AfterValidator(_country)]
WebhookSecret = Annotated[Annotated[Secret, AfterValidator(_webhook_secret)] | None, BeforeValidator(blank_is_none)]
SecretKeys = Annotated[Annotated[Secret, AfterValidator(_secret_keys)] | None, BeforeValidator(blank_is_none)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1)]
