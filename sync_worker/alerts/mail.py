"""Mail by SMTP: verified TLS where there is TLS, no password in the clear, one message to all receivers.

Raises SyncError with the server's reply codes only: its words may quote addresses, and errors end up in logs.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

import structlog

from sync_worker.alerts.message import Message
from sync_worker.errors import AuthFailed, Rejected, SystemUnavailable

log = structlog.get_logger(__name__)

SECONDS = 15.0  # for all of a conversation
PORTS = {"smtp": 25, "smtps": 465}
LOGIN_PORT = 587  # where a user and password are given
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_STATUS = re.compile(rb"^([245]\.\d{1,3}\.\d{1,3})\b")


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where and how to sign in. ``starttls``: refuse to go on without; ``implicit``: TLS from the first byte."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = False
    implicit: bool = False


def server_of(url: str) -> MailServer:
    """The server that a checked ``alerts.smtp`` names; user and password are percent-decoded."""
    parts = urlsplit(url)
    user = unquote(parts.username or "")
    port = parts.port or (LOGIN_PORT if user and parts.scheme == "smtp" else PORTS[parts.scheme])
    return MailServer(
        host=parts.hostname or "",
        port=port,
        user=user,
        password=unquote(parts.password or ""),
        starttls=parts.query.startswith("starttls"),
        implicit=parts.scheme == "smtps",
    )


class Mail:
    """One of the targets of alerts. ``sender`` None: the server's user where that is an address, else one of ours."""

    name = "mail"

    def __init__(self, server: MailServer, to: Sequence[str], sender: str | None = None) -> None:
        self._server = server
        self._to = to
        domain = to[0].partition("@")[2]
        self._from = sender or (server.user if "@" in server.user else f"sync-worker@{domain}")

    def send(self, message: Message) -> None:
        """Hand it to the server, for everybody. Raises SyncError; nothing was sent, or nobody knows."""
        mail = self._mail(message)
        with _signed_in(self._server) as smtp:
            refused = smtp.send_message(mail, self._from, list(self._to))
        if refused:
            codes = sorted({_code(code, text) for code, text in refused.values()})
            log.warning("alerts.receivers_refused", message=message.id, count=len(refused), replies=codes)

    def check(self) -> None:
        """Greet and sign in, and send nothing. Raises SyncError."""
        with _signed_in(self._server) as smtp:
            smtp.noop()

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self._from, ", ".join(self._to), message.subject
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{message.id}@{self._from.partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers, please
        mail.set_content(message.text, cte="quoted-printable")
        return mail


@contextmanager
def _signed_in(server: MailServer) -> Iterator[smtplib.SMTP]:
    """A conversation after greeting, TLS and login. Whatever goes wrong within it becomes a SyncError."""
    ends_at = time.monotonic() + SECONDS
    context = ssl.create_default_context()
    try:
        smtp = _connect(server, context)
        try:
            _step(smtp, ends_at, smtp.ehlo_or_helo_if_needed)
            if not server.implicit:
                _start_tls(smtp, server, context, ends_at)
            if server.user:
                _step(smtp, ends_at, lambda: _login(smtp, server))
            _limit(smtp, ends_at)
            yield smtp
            with suppress(smtplib.SMTPException, OSError):  # what was to be said has been said
                smtp.quit()
        finally:
            smtp.close()
    except ssl.SSLCertVerificationError as error:
        raise SystemUnavailable(f"mail server: its certificate is not trusted ({error.verify_message})") from None
    except smtplib.SMTPAuthenticationError as error:
        reply = _code(error.smtp_code, error.smtp_error)
        raise AuthFailed(f"mail server: it refuses user and password of alerts.smtp ({reply})") from None
    except smtplib.SMTPRecipientsRefused as error:
        codes = ", ".join(sorted({_code(code, text) for code, text in error.recipients.values()}))
        raise Rejected(f"mail server: it refuses every address of alerts.to ({codes})") from None
    except smtplib.SMTPSenderRefused as error:
        raise Rejected(
            f"mail server: it refuses the sender, set alerts.from ({_code(error.smtp_code, error.smtp_error)})"
        ) from None
    except smtplib.SMTPResponseException as error:
        raise SystemUnavailable(f"mail server: it answered {_code(error.smtp_code, error.smtp_error)}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise SystemUnavailable(f"mail server: not reached, or it hung up ({type(error).__name__})") from None


def _connect(server: MailServer, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.implicit:
        return smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=SECONDS)


def _start_tls(smtp: smtplib.SMTP, server: MailServer, context: ssl.SSLContext, ends_at: float) -> None:
    """TLS where it is offered; where it is not, go on only if nobody asked for it and no password would be shown.

    On this machine itself it is left out unless asked for: a local server rarely has a certificate of that name.
    """
    if server.host in _LOOPBACK and not server.starttls:
        return
    if smtp.has_extn("starttls"):
        _step(smtp, ends_at, lambda: smtp.starttls(context=context))
        _step(smtp, ends_at, smtp.ehlo)
    elif server.starttls:
        raise Rejected("mail server: it offers no STARTTLS, and alerts.smtp asks for it")
    elif server.user:
        raise Rejected("mail server: it offers no STARTTLS, and a password is not sent unencrypted")


def _login(smtp: smtplib.SMTP, server: MailServer) -> None:
    """One try by one mechanism: smtplib's own ``login`` offers a refused password once more by every other one."""
    offered = smtp.esmtp_features.get("auth", "").upper().split()
    smtp.user, smtp.password = server.user, server.password
    for mechanism, answer in (("PLAIN", smtp.auth_plain), ("LOGIN", smtp.auth_login), ("CRAM-MD5", smtp.auth_cram_md5)):
        if mechanism in offered:
            smtp.auth(mechanism, answer)
            return
    raise Rejected("mail server: it offers no login by PLAIN, LOGIN or CRAM-MD5, and alerts.smtp names a user")


def _step(smtp: smtplib.SMTP, ends_at: float, act: Callable[[], object]) -> None:
    _limit(smtp, ends_at)
    act()


def _limit(smtp: smtplib.SMTP, ends_at: float) -> None:
    """Every step has what is left of the whole; smtplib itself would give each of them all of it."""
    if smtp.sock is not None:
        smtp.sock.settimeout(max(0.1, ends_at - time.monotonic()))


def _code(code: int, text: bytes | str) -> str:
    """A reply as its numbers: ``535 5.7.8``."""
    found = _STATUS.match(text if isinstance(text, bytes) else text.encode(errors="replace"))
    return f"{code} {found[1].decode()}" if found else str(code)
