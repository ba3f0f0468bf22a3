"""[alerts]: who may be named, and how clearly a wrong one is refused."""

from __future__ import annotations

import pytest

from sync_worker import config
from sync_worker.alerts.mail import MailServer, server_of
from sync_worker.config import AlertsConfig
from sync_worker.errors import ConfigError

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
MAIL = 'smtp = "smtp://u:hunter22@mail.example"\nto = ["ops@acme.example"]\n'


def alerts(lines: str) -> AlertsConfig:
    return config.parse("[alerts]\n" + lines, environ={}).alerts


def refusal(lines: str) -> str:
    """One line, that never shows what is secret."""
    with pytest.raises(ConfigError) as caught:
        alerts(lines)
    message = str(caught.value)
    assert "\n" not in message and "hunter22" not in message
    return message


def test_nobody_is_told_unless_somebody_is_named() -> None:
    assert not alerts("").tells_somebody
    assert not alerts('smtp = ""\nto = ["ops@acme.example"]\nwebhook = ""\n').tells_somebody
    assert alerts(MAIL).tells_somebody
    assert alerts(f'webhook = "https://x.example/h?t=1"\nwebhook_secret = "{SECRET}"\n').tells_somebody


def test_every_key_is_read_and_what_is_not_said_has_the_documented_value() -> None:
    full = alerts(MAIL + 'from = "sync@acme.example"\nafter_hours = 0.5\nlag_seconds = 60\n')
    assert (full.sender, full.after_hours, full.lag_seconds) == ("sync@acme.example", 0.5, 60)
    plain = alerts(MAIL)
    assert (plain.sender, plain.webhook_secret, plain.after_hours, plain.lag_seconds) == (None, None, 4, 900)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('fron = "a@b.example"\n', "alerts.fron: unknown key; did you mean 'from'?; allowed: smtp, from, to, webhook"),
        ('sender = "a@b.example"\n', "line 2: alerts.sender: unknown key"),
        ('from = "me"\n', "line 2: alerts.from: must be a mail address like NAME@HOST"),
        ('to = ["Ops <ops@acme.example>"]\n', "line 2: alerts.to.0: must be a mail address"),
        ('to = ["ops@acme.example\\r\\nBcc: x@evil.example"]\n', "alerts.to.0: must be a mail address"),
        ('smtp = "smtp://u:hunter22@mail.example"\n', "alerts.to: is missing"),
        (MAIL.replace("smtp://", "http://"), "alerts.smtp: must be smtp://USER:PASSWORD@HOST:PORT (or smtps://)"),
        (MAIL.replace("u:hunter22@mail.example", ""), "alerts.smtp: must be smtp://"),
        (MAIL.replace("u:hunter22@", "u@"), "alerts.smtp: must be smtp://USER:PASSWORD@"),
        (MAIL.replace(".example", ".example:99999", 1), "alerts.smtp: must be smtp://"),
        (MAIL.replace(".example", ".example?tls=no", 1), "alerts.smtp: the only option after ? is starttls"),
        (MAIL.replace("smtp:", "smtps:").replace(".example", ".example?starttls", 1), "leave ?starttls out"),
        ('webhook = "https://x.example"\n', "alerts.webhook_secret: is missing: whsec_"),
        (f'webhook = "ftp://x.example"\nwebhook_secret = "{SECRET}"\n', "line 2: alerts.webhook: must be an address"),
        (f'webhook = "https://u:hunter22@x.example"\nwebhook_secret = "{SECRET}"\n', "without user and password"),
        ('webhook_secret = "hunter22"\n', "line 2: alerts.webhook_secret: must be whsec_"),
        ("after_hours = -1\n", "line 2: alerts.after_hours: must be greater than or equal to 0"),
        ("after_hours = inf\n", "line 2: alerts.after_hours: must be a finite number"),
        ("lag_seconds = 0\n", "line 2: alerts.lag_seconds: must be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_key_and_what_is_allowed(lines: str, said: str) -> None:
    assert said in refusal(lines)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", MailServer("mail.example", 25)),
        ("smtp://mail.example?starttls", MailServer("mail.example", 25, starttls=True)),
        ("smtp://u:p@mail.example", MailServer("mail.example", 587, "u", "p")),
        ("smtp://u:p@mail.example:2525/?starttls", MailServer("mail.example", 2525, "u", "p", starttls=True)),
        ("smtps://o%40a.de:p%2F%20w@mail.example", MailServer("mail.example", 465, "o@a.de", "p/ w", implicit=True)),
    ],
)
def test_a_mail_address_names_server_port_login_and_encryption(url: str, server: MailServer) -> None:
    assert server_of(url) == server
    assert "'p" not in repr(server)
