"""The Intacct emulator: grants and tokens."""

from __future__ import annotations

from typing import Any

import pytest

from support.intacct_emulator import CUSTOMER, Api, error_of

pytest_plugins = ("support.intacct_emulator_fixtures",)


def test_a_grant_is_taken_as_form_and_as_json(intacct: Api) -> None:
    answer = intacct.token()
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 43_200
    form = {"grant_type": "client_credentials", "client_id": "demo-client", "client_secret": "demo-secret"}
    assert intacct.http.post("oauth2/token", json={**form, "username": "sync@ACME"}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_id": None}, 400, "GW-0037"),
        ({"client_id": "other"}, 401, "GW-0011"),
        ({"client_secret": "wrong"}, 401, "GW-0011"),
        ({"username": None}, 400, "GW-0036"),
        ({"username": "sync"}, 400, "GW-0012"),
        ({"username": "sync@OTHER"}, 401, "GW-0011"),
        ({"grant_type": "password"}, 400, "GW-0032"),
        ({"grant_type": "refresh_token", "refresh_token": "never"}, 400, "tokenInvalid"),
    ],
)
def test_a_wrong_grant_is_refused_with_a_bare_error(intacct: Api, changes: Any, status: int, code: str) -> None:
    answer = intacct.ask_token(**changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_second_grant_kills_the_first_refresh_token(intacct: Api) -> None:
    first = intacct.token()["refresh_token"]
    second = intacct.token()["refresh_token"]
    assert intacct.ask_token(grant_type="refresh_token", refresh_token=first).json()["errorId"] == "REST-2102"
    assert "access_token" in intacct.token(grant_type="refresh_token", refresh_token=second)


@pytest.mark.parametrize(
    ("form", "reusable", "given"), [("rotated", False, True), ("kept", True, True), ("absent", True, False)]
)
def test_a_refresh_token_is_rotated_kept_or_left_out(intacct: Api, form: str, reusable: bool, given: bool) -> None:
    old = intacct.token()["refresh_token"]
    intacct.emulator.faults.merge({"refresh_form": form})
    again = intacct.token(grant_type="refresh_token", refresh_token=old)
    assert ("refresh_token" in again) is given
    assert (again.get("refresh_token") == old) is (form == "kept")
    assert (intacct.ask_token(grant_type="refresh_token", refresh_token=old).status_code == 200) is reusable


def test_a_token_ends_after_its_lifetime_and_by_revocation(intacct: Api) -> None:
    key = intacct.create(id="C-1", name="A")
    intacct.clock.now += 43_201
    assert intacct.call("GET", f"{CUSTOMER}/{key}").status_code == 401
    token = intacct.token()["access_token"]
    intacct.http.headers["Authorization"] = f"Bearer {token}"
    assert intacct.call("GET", f"{CUSTOMER}/{key}").status_code == 200
    form = {"client_id": "demo-client", "client_secret": "demo-secret", "token": token}
    assert intacct.http.post("oauth2/revoke", data=form).json() == {"revoked": True}
    assert intacct.call("GET", f"{CUSTOMER}/{key}").status_code == 401


def test_a_rejected_token_is_401_or_400_as_switched_and_a_missing_one_names_the_header(intacct: Api) -> None:
    intacct.emulator.faults.merge({"fail_next": [{"operation": "list customer", "fault": "401"}]})
    answer = intacct.call("GET", CUSTOMER)
    assert (answer.status_code, answer.json()["error"]["errorId"]) == (401, "REST-2102")
    intacct.emulator.faults.merge({"token_error_form": "400"})
    answer = intacct.call("GET", CUSTOMER)
    assert (answer.status_code, error_of(answer)["code"]) == (400, "GW-0031")
    del intacct.http.headers["Authorization"]
    assert intacct.call("GET", CUSTOMER).json()["error"]["code"] == "GW-0034"
