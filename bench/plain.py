"""What people write by hand: a loop over httpx that carries one changed customer after the other to the other side.

It is told the keys of what changed, reads the record there, reads its partner, and PATCHes the name where it differs.
It keeps no state: no past to compare with, so whoever runs last wins; a failure loses the edit; and it knows its own
echo by nothing but equal values. The partner is found by the column in Sage CRM that holds Intacct's record number. To
its favour it keeps its connections, signs in once, and reads one table of Sage CRM where we read five.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import httpx

from bench.rig import Rig

_CUSTOMER = "objects/accounts-receivable/customer"
PARTNER = "comp_intacct_recordno"


class PlainLoop:
    """One thread, one connection to each vendor. A context manager."""

    def __init__(self, stage: Rig) -> None:
        erp, crm = stage.config.systems["erp"], stage.config.systems["crm"]
        self._erp = httpx.Client(base_url=erp.base_url)
        form = {
            "grant_type": "client_credentials",
            "client_id": erp.client_id.get_secret_value(),
            "client_secret": erp.client_secret.get_secret_value(),
            "username": erp.username,
        }
        token = self._erp.post("oauth2/token", data=form).raise_for_status().json()["access_token"]
        self._erp.headers["authorization"] = f"Bearer {token}"
        self._crm = httpx.Client(
            base_url=crm.base_url, auth=(crm.username.get_secret_value(), crm.password.get_secret_value())
        )

    def __enter__(self) -> PlainLoop:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._erp.close()
        self._crm.close()

    def to_erp(self, keys: Iterable[str]) -> None:
        """Carry what changed in Sage CRM to Intacct."""
        for key in keys:
            company = _answer(self._crm.get(f"Company('{key}')"))
            path = f"{_CUSTOMER}/{company[PARTNER]}"
            customer = _answer(self._erp.get(path))["ia::result"]
            if customer["name"] != company["Comp_Name"]:
                _answer(self._erp.patch(path, json={"name": company["Comp_Name"]}))

    def to_crm(self, keys: Iterable[str]) -> None:
        """Carry what changed in Intacct to Sage CRM."""
        for key in keys:
            customer = _answer(self._erp.get(f"{_CUSTOMER}/{key}"))["ia::result"]
            found = _answer(self._crm.get("Company", params={"where": f"{PARTNER} eq '{key}'"}))
            (company,) = found["$resources"]
            if company["Comp_Name"] != customer["name"]:
                _answer(
                    self._crm.patch(f"Company('{company['Comp_CompanyId']}')", json={"Comp_Name": customer["name"]})
                )


def _answer(response: httpx.Response) -> dict[str, Any]:
    return dict(response.raise_for_status().json())


def creates_a_second(stage: Rig, count: int, threads: int) -> float:
    """Companies made in Sage CRM by that many threads, each with a client of its own that does nothing else."""
    crm = stage.config.systems["crm"]
    auth = (crm.username.get_secret_value(), crm.password.get_secret_value())

    def work(number: int) -> None:
        with httpx.Client(base_url=crm.base_url, auth=auth) as client:
            for n in range(number, count, threads):
                _answer(client.post("Company", params={"returnPartial": "false"}, json={"Comp_Name": f"Plain {n}"}))

    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return count / (time.perf_counter() - begun)
