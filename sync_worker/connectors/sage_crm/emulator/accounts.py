"""Who may call. Documented: Basic on every request, also in X-Sage-Authorization, never challenged; disabled and
resource users are refused. Observed: ``?SID=``, and 401 without the web-service right.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from sync_worker.connectors.sage_crm.emulator.answers import Problem
from sync_worker.connectors.sage_crm.emulator.faults import SageCrmFaults
from sync_worker.connectors.sage_crm.emulator.store import Table


@dataclass(slots=True)
class Logon:
    """An account that may call: ``user`` is its row in Users, which may be disabled or a resource."""

    password: str
    user: int
    web_service: bool = True


@dataclass(slots=True)
class Accounts:
    """``logons``: name -> account. ``sessions``: session id -> name, as the SOAP logon would make them."""

    users: Table
    faults: SageCrmFaults
    logons: dict[str, Logon] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)

    def authorise(self, headers: Mapping[str, str], sid: str | None) -> int:
        """The user id behind a request. Raises ``Problem`` 401."""
        logon = self._by_session(sid) if sid is not None else self._by_password(headers)
        row = self.users.live(logon.user) if logon is not None else None
        if logon is None or row is None or self.faults.logon_disabled:
            raise Problem(401, "ApplicationDiagnosis", "Logon failed")
        if row.get("User_Disabled") or row.get("User_Resource"):
            raise Problem(401, "ApplicationDiagnosis", "Logon failed")
        if not logon.web_service or self.faults.no_web_service_right:
            raise Problem(401, "ApplicationDiagnosis", "The user has no web service access")
        return logon.user

    def _by_session(self, sid: str) -> Logon | None:
        return self.logons.get(self.sessions.get(sid, ""))

    def _by_password(self, headers: Mapping[str, str]) -> Logon | None:
        text = headers.get("x-sage-authorization") or headers.get("authorization") or ""
        name, _, password = _basic(text).partition(":")
        logon = self.logons.get(name)
        return logon if logon is not None and logon.password == password else None


def _basic(text: str) -> str:
    """``name:password`` of a Basic header; empty when it is none."""
    scheme, _, encoded = text.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
