"""OAuth: grants, refresh, revocation, and what a bad token gets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sync_worker.connectors.emulation import Request, Response, encode_json, json_response
from sync_worker.connectors.intacct.emulator.envelope import ApiError
from sync_worker.connectors.intacct.emulator.switches import IntacctFaults


@dataclass(frozen=True, slots=True)
class Session:
    """What an access token stands for. ``entity``: the entity the token was made for, empty for the top level."""

    client_id: str
    user: str
    entity: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Identity:
    """The one application and user that the company has authorised."""

    client_id: str
    client_secret: str
    user: str
    company: str


class TokenDesk:
    """Issues and checks tokens. Observed: a second grant for the same user kills the first one's refresh token."""

    def __init__(
        self, identity: Identity, faults: IntacctFaults, rng: random.Random, clock: Callable[[], float]
    ) -> None:
        self._identity = identity
        self._faults = faults
        self._rng = rng
        self._clock = clock
        self._secret = rng.randbytes(32)
        self._access: dict[str, Session] = {}
        self._refresh: dict[str, tuple[str, str]] = {}

    def session(self, request: Request) -> Session:
        """Whose call this is. Raises ``ApiError``: GW-0034 for the header, else the token's error in its form."""
        header = request.headers.get("authorization", "")
        if not header.startswith("Bearer "):
            raise ApiError(401, "GW-0034", "Invalid Authorization Header")
        session = self._access.get(header[7:])
        if session is None or session.expires_at <= self._clock():
            raise self.rejected_token()
        return session

    def rejected_token(self) -> ApiError:
        """Seen as 401 and as 400; the texts differ, too."""
        if self._faults.token_error_form == "400":  # noqa: S105 -- an HTTP status, no secret
            return ApiError(400, "GW-0031", "Invalid token")
        return ApiError(401, "tokenInvalid", "Token is not valid", "REST-2102")

    def drop_access_tokens(self) -> None:
        """Every access token ends now, as when the vendor restarts."""
        self._access.clear()

    def grant(self, request: Request) -> Response:
        """``POST /oauth2/token``: client_credentials and refresh_token; errors are bare objects."""
        form = _form(request)
        if isinstance(form, Response):
            return form
        if not form.get("client_id"):
            return _bare(400, "GW-0037", "Missing Client ID")
        identity = self._identity
        secret = str(form.get("client_secret", ""))
        if form["client_id"] != identity.client_id or not hmac.compare_digest(
            secret.encode(), identity.client_secret.encode()
        ):
            return _bare(401, "GW-0011", "Invalid Request")
        match form.get("grant_type"):
            case "client_credentials":
                return self._by_credentials(form)
            case "refresh_token":
                return self._by_refresh(form)
        return _bare(400, "GW-0032", "Invalid Token Payload")

    def _by_credentials(self, form: Mapping[str, Any]) -> Response:
        username = str(form.get("username", ""))
        if not username:
            return _bare(400, "GW-0036", "Missing User Name")
        user, at, tenant = username.partition("@")
        company, _, entity = tenant.partition("|")
        if not at or not company:
            return _bare(400, "GW-0012", "Missing Tenant Data")
        if (user, company) != (self._identity.user, self._identity.company):
            return _bare(401, "GW-0011", "Invalid Request")
        self._refresh.clear()
        return self._issue(entity, None)

    def _by_refresh(self, form: Mapping[str, Any]) -> Response:
        old = str(form.get("refresh_token", ""))
        known = self._refresh.get(old)
        if known is None:
            body = {"code": "tokenInvalid", "message": "Token is not valid", "errorId": "REST-2102"}
            return json_response(400, {**body, "supportId": "emulated"})
        return self._issue(str(form.get("entity_id") or known[1]), old)

    def _issue(self, entity: str, old_refresh: str | None) -> Response:
        now = self._clock()
        lifetime = self._faults.token_lifetime
        identity = self._identity
        access = self._jwt({"iat": int(now), "exp": int(now + lifetime), "userId": identity.user, "entityId": entity})
        self._access[access] = Session(identity.client_id, identity.user, entity, now + lifetime)
        answer: dict[str, Any] = {"token_type": "Bearer", "access_token": access, "expires_in": lifetime}
        form = self._faults.refresh_form
        if form == "kept" and old_refresh is not None:
            answer["refresh_token"] = old_refresh
        elif form != "absent":
            refresh = answer["refresh_token"] = self._rng.randbytes(20).hex()
            self._refresh.pop(old_refresh or "", None)
            self._refresh[refresh] = (identity.user, entity)
        return json_response(200, answer)

    def revoke(self, request: Request) -> Response:
        """``POST /oauth2/revoke``: ends an access or refresh token; unknown ones count as ended."""
        form = _form(request)
        if isinstance(form, Response):
            return form
        if form.get("client_id") != self._identity.client_id:
            return _bare(401, "GW-0011", "Invalid Request")
        token = str(form.get("token", ""))
        self._access.pop(token, None)
        self._refresh.pop(token, None)
        return json_response(200, {"revoked": True})

    def _jwt(self, claims: Mapping[str, Any]) -> str:
        identity = self._identity
        body = {"clientId": identity.client_id, "cnyId": identity.company, "sessionId": self._rng.randbytes(8).hex()}
        return sign_jwt({**body, **claims}, self._secret)


def sign_jwt(claims: Mapping[str, Any], secret: bytes) -> str:
    """A JWT with HS256."""
    signing_input = _JWT_HEADER + b"." + _url_b64(encode_json(claims))
    return (signing_input + b"." + _url_b64(hmac.digest(secret, signing_input, hashlib.sha256))).decode()


def _url_b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


_JWT_HEADER = _url_b64(b'{"alg":"HS256","typ":"JWT"}')


def _bare(status: int, code: str, message: str) -> Response:
    return json_response(status, {"code": code, "message": message, "supportId": "emulated"})


def _form(request: Request) -> dict[str, Any] | Response:
    """The body, form-encoded or JSON: both were seen to work."""
    if not request.body:
        return _bare(400, "GW-0035", "Missing Token Payload")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return dict(parse_qsl(request.body.decode()))
        if kind == "application/json":
            body = json.loads(request.body)
            return body if isinstance(body, dict) else _bare(400, "GW-0032", "Invalid Token Payload")
    except ValueError:
        return _bare(400, "GW-0032", "Invalid Token Payload")
    return _bare(400, "GW-0014", "Invalid Content Type")
