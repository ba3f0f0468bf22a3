"""The cases over emulators: each on a real socket of this process, with a back door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite import NOW, NOWHERE, BackDoor, Case

from mappings.canonical import MapSettings
from mappings.intacct import customer_map as intacct_map
from mappings.sage_crm import customer_map as sage_crm_map
from support.clock import FakeClock
from support.tokens import MemoryTokens
from sync_worker.config.profile import Profile
from sync_worker.config.profile import load as load_profile
from sync_worker.connectors.emulation import EmulatorServer
from sync_worker.connectors.http import Breaker, VendorHttp
from sync_worker.connectors.intacct.client import IntacctConnector, IntacctSettings
from sync_worker.connectors.intacct.emulator import IntacctEmulator
from sync_worker.connectors.rest.client import RestConnector
from sync_worker.connectors.rest.client import connect as connect_rest
from sync_worker.connectors.rest.emulator import TheLayerEmulator
from sync_worker.connectors.rest.settings import RestSettings
from sync_worker.connectors.sage_crm.auth import BasicLogin
from sync_worker.connectors.sage_crm.client import SageCrmConnector
from sync_worker.connectors.sage_crm.emulator import SageCrmEmulator
from sync_worker.connectors.sage_crm.settings import SageCrmSettings


@contextmanager
def intacct() -> Iterator[Case]:
    clock = FakeClock(NOW)
    emulator = IntacctEmulator(seed=7, clock=clock)
    with EmulatorServer(emulator) as base:
        settings = IntacctSettings(
            base_url=f"{base}/ia/api/v1",
            client_id="demo-client",
            client_secret="demo-secret",
            username="sync@ACME",
            new_customer_id="CRM-{crm_key}",
        )
        made: list[IntacctConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> IntacctConnector:
            mapped = MapSettings(default_country="GB", custom={"region": "nsp::REGION"} if custom is None else custom)
            made.append(
                IntacctConnector(
                    "erp",
                    replace(settings, **changes),
                    maps={"customer": intacct_map(mapped)},
                    tokens=MemoryTokens(clock),
                    breaker=Breaker(threshold=1000),
                    clock=clock,
                )
            )
            return made[-1]

        yield Case(
            system="erp",
            connector=connect(),
            misconfigured=lambda: connect(custom={"region": NOWHERE["intacct"]}),
            missing=NOWHERE["intacct"],
            now=clock,
            known_manager="E-10",
            back_door=BackDoor(
                emulator=emulator,
                clock=clock,
                entity="customer",
                connect=connect,
                bad_secret={"client_secret": "wrong"},
                hook_secret="demo-secret",
            ),
        )
        for connector in made:
            connector.close()


@contextmanager
def sage_crm() -> Iterator[Case]:
    clock = FakeClock(NOW)
    emulator = SageCrmEmulator(seed=7, clock=clock)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with EmulatorServer(emulator) as base:
        settings = SageCrmSettings(
            base_url=f"{base}/sdata/crmj/sagecrm2/-",
            username="sync",
            password="demo-password",
            webhook_secret=secret,
            columns={
                "tax_number": "comp_vatnumber",
                "erp_key": "comp_intacct_recordno",
                "erp_ref": "comp_intacct_customerid",
                "erp_company": "comp_intacct_company",
            },
            default_country="GB",
            erp_company="Acme UK",
        )
        made: list[SageCrmConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> SageCrmConnector:
            chosen = replace(settings, **changes)
            mapped = MapSettings(default_country="GB", columns=dict(chosen.columns), custom=custom or {})
            login = BasicLogin(chosen.username, chosen.password)
            http = VendorHttp(
                "crm", chosen.base_url, classify=login.classify, prepare=login.prepare, breaker=Breaker(threshold=1000)
            )
            made.append(
                SageCrmConnector("crm", chosen, maps={"customer": sage_crm_map(mapped)}, http=http, clock=clock)
            )
            return made[-1]

        yield Case(
            system="crm",
            connector=connect(),
            misconfigured=lambda: connect(custom={"region": NOWHERE["sage_crm"]}),
            missing=NOWHERE["sage_crm"],
            now=clock,
            known_manager="2",
            back_door=BackDoor(
                emulator=emulator,
                clock=clock,
                entity="Company",
                connect=connect,
                bad_secret={"password": "wrong"},
                hook_secret=secret,
            ),
        )
        for connector in made:
            connector.close()


@contextmanager
def the_layer(profile: Profile | None = None) -> Iterator[Case]:
    """The connector ``rest`` with the shipped profile, or with another one over the same emulator."""
    clock = FakeClock(NOW)
    emulator = TheLayerEmulator(seed=7, clock=clock)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    chosen = profile or load_profile("the_layer", Path())
    with EmulatorServer(emulator) as base:
        settings = RestSettings(
            base_url=f"{base}/api/v1",
            token="demo-token",
            profile=chosen,
            webhook_secret=secret,
            erp_company="Acme UK",
        )
        made: list[RestConnector] = []

        def connect(custom: dict[str, str] | None = None, **changes: Any) -> RestConnector:
            mapped = MapSettings(default_country="GB", columns=chosen.columns, custom=custom or {})
            breaker = Breaker(threshold=1000)
            made.append(connect_rest("crm", replace(settings, **changes), mapped, clock=clock, breaker=breaker))
            return made[-1]

        yield Case(
            system="crm",
            connector=connect(),
            misconfigured=lambda: connect(custom={"region": NOWHERE["rest"]}),
            missing=NOWHERE["rest"],
            now=clock,
            known_manager="U1",
            back_door=BackDoor(
                emulator=emulator,
                clock=clock,
                entity="customer",
                connect=connect,
                bad_secret={"token": "wrong"},
                hook_secret=secret,
            ),
        )
        for connector in made:
            connector.close()


CASES: dict[str, Callable[[], Any]] = {"intacct": intacct, "sage_crm": sage_crm, "the_layer": the_layer}
