"""The one place that wires everything: configuration in, a running application out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import handlers
from mappings.account_managers import MapRow, Translated, in_step, translate
from mappings.canonical import MapSettings
from mappings.fields import Value
from mappings.merge import FieldPolicy, InStep, Missing, Policy, Translate
from sync_worker import metrics
from sync_worker.config import Config, FlowConfig
from sync_worker.config.sub_companies import maps_them, name_key
from sync_worker.connectors import CONNECTORS
from sync_worker.connectors.base import Connector
from sync_worker.connectors.breaker import Breaker
from sync_worker.connectors.http import CallSeen
from sync_worker.connectors.limiter import Limiter, LocalLimiter
from sync_worker.connectors.parts import FlowParts, Parts
from sync_worker.engine import sub_companies
from sync_worker.engine.core import Engine
from sync_worker.engine.flow import Flow, SubCompanies
from sync_worker.engine.invoices import Invoices
from sync_worker.events import INVOICE, SIDES, Side
from sync_worker.polling import Feeds
from sync_worker.routing import dates_of, rule_for
from sync_worker.store import defaults, managers, pauses, watermarks
from sync_worker.store.inbox import Inbox, Listener
from sync_worker.store.secrets import SecretBox, SecretStore
from sync_worker.store.session import Database

__all__ = ["App", "build", "handlers"]


@dataclass
class App:
    """Everything a process needs. ``close`` gives sockets and connections back."""

    config: Config
    db: Database
    inbox: Inbox
    systems: Mapping[str, Connector]
    flows: Mapping[str, Flow]
    engine: Engine
    feeds: Feeds
    clock: Callable[[], float]

    def close(self) -> None:
        for connector in self.systems.values():
            connector.close()
        self.db.close()


def build(
    config: Config,
    *,
    db: Database | None = None,
    starting: bool = True,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    limiter: Limiter | None = None,
    transport_for: Callable[[str], Any] | None = None,
    owner: str | None = None,
) -> App:
    """Wire an application over a migrated database. ``starting`` switches on the flows that are new.

    ``owner``: the name of this process on the leases it takes, if its end is told to its successor.
    ``transport_for``: system -> httpx transport, for emulators inside the process; None = real sockets.
    """
    database = db or Database(config.database.url)
    clock = database.clock
    tokens = SecretStore(database, SecretBox(config.secret_keys(), config.secret_keys))
    slots = limiter or LocalLimiter()
    connectors: dict[str, Connector] = {}
    for name, settings in config.systems.items():
        parts = Parts(
            system=name,
            settings=settings,
            map_settings=everything_read(config, name),
            tokens=tokens,
            invoices=any(f.waits_for_invoice(s) for f in config.flows.values() for s in SIDES if getattr(f, s) == name),
            limiter=slots,
            breaker=_breaker(database, name, clock, monotonic),
            transport=transport_for(name) if transport_for else None,
            observe=_observe,
            clock=clock,
            sleep=sleep,
            monotonic=monotonic,
        )
        connectors[name] = import_module(CONNECTORS[settings.connector] + ".connect").connect(parts)
    flows = {name: _flow(name, config, database, connectors, starting=starting) for name in config.flows}
    for flow in flows.values() if starting else ():
        defaults.heal(database, flow.entity, flow.shared_crm or (flow.name,))
    if starting:
        sub_companies.release_mapped(database, flows)
    inbox = Inbox(
        database,
        [one for flow in flows.values() for one in _listeners(flow)],
        switched_on={name: flow.switched_on_at for name, flow in flows.items()},
    )
    invoices = Invoices(database, inbox, dates_of(INVOICE))
    engine = Engine(database, flows, rule_for, inbox, invoices, clock, sleep, owner=owner)
    feeds = Feeds(database, inbox, list(flows.values()), connectors, invoices)
    return App(config, database, inbox, connectors, flows, engine, feeds, clock)


def map_settings(config: Config, flow: FlowConfig, side: Side) -> MapSettings:
    """What a flow makes of the customer map of one of its systems: custom fields, limits, defaults, filter columns."""
    longest = {name: getattr(one, f"max_{side}") for name, one in flow.fields.items()}
    return MapSettings(
        default_country=_country(config, flow),
        custom={name: getattr(one, side) for name, one in flow.custom.items()},
        limits={name: limit for name, limit in longest.items() if limit is not None},
        defaults=getattr(flow.defaults, side),
        extra=tuple(getattr(flow.filter, side)),
        **config.systems[getattr(flow, side)].of_the_map(),
    )


def everything_read(config: Config, system: str) -> MapSettings:
    """What a system's connector reads: the columns of every flow over it. Only flows map, each by its own settings."""
    sides = [(flow, side) for flow in config.flows.values() for side in SIDES if getattr(flow, side) == system]
    columns = [
        column
        for flow, side in sides
        for column in (*(getattr(one, side) for one in flow.custom.values()), *getattr(flow.filter, side))
    ]
    return MapSettings(extra=tuple(dict.fromkeys(columns)), **config.systems[system].of_the_map())


def _country(config: Config, flow: FlowConfig) -> str:
    """Both maps of a flow take one default country, the CRM's where it has one."""
    return config.systems[flow.crm].default_country or config.systems[flow.erp].default_country


def _breaker(db: Database, system: str, clock: Callable[[], float], monotonic: Callable[[], float]) -> Breaker:
    """An open breaker pauses the system for everybody: claims skip it until it is tried again."""
    breaker = Breaker(clock=monotonic)

    def changed(opened: bool, seconds: float) -> None:
        if opened:
            pauses.pause(db, "system", system, pauses.UNAVAILABLE, "the system cannot be reached", clock() + seconds)
        else:
            pauses.resume(db, "system", system, reason=pauses.UNAVAILABLE)

    breaker.on_change(changed)
    return breaker


def _observe(seen: CallSeen) -> None:
    metrics.vendor_call(seen.system, seen.operation, seen.result, seen.seconds)


def _flow(name: str, config: Config, db: Database, connectors: Mapping[str, Connector], *, starting: bool) -> Flow:
    one = config.flows[name]
    systems: dict[Side, str] = {"erp": one.erp, "crm": one.crm}
    sharing = tuple(config.sharing(name))
    columns = config.systems[one.crm].own_columns
    views: dict[Side, Connector] = {
        side: connectors[systems[side]].for_flow(
            FlowParts(
                map_settings=map_settings(config, one, side),
                company=config.systems[one.erp].company,
                shared=len(sharing) > 1,
                new_customer_id=one.new_customer_id,
            )
        )
        for side in SIDES
    }
    since = watermarks.switch_on(db, name, one.direction, keep=starting)
    return Flow(
        name=name,
        entity=one.entity,
        systems=systems,
        connectors=views,
        maps={side: views[side].maps[one.entity] for side in SIDES},
        policy=policy_of(one),
        create={"erp": one.create_in_erp, "crm": one.create_in_crm},
        translator=lambda: manager_translator(db, name, systems),
        switched_on_at=since.flow,
        ways_opened_at=since.ways,
        filters={side: {c: tuple(v) for c, v in getattr(one.filter, side).items()} for side in SIDES},
        match_policy=one.match_policy,
        company=config.systems[one.erp].company,
        unlinked_per_hour=one.limits.unlinked,
        shared_crm=sharing if len(sharing) > 1 else (),
        # where sub-companies say whose a record is, it need not name its ERP company
        others_create=not maps_them(one)
        and any(_creates_by_itself(config.flows[other]) for other in sharing if other != name),
        crm_ref_column=columns.get("erp_ref", ""),
        crm_company_column=columns.get("erp_company", ""),
        invoices_of=tuple(side for side in SIDES if one.waits_for_invoice(side)),
        sub_companies=_sub_companies(config, one),
        create_without_manager=one.create_without_manager,
    )


def _sub_companies(config: Config, flow: FlowConfig) -> SubCompanies | None:
    """What a flow takes of its CRM's sub-companies; the default flow, or else the first, tells of unmapped ones."""
    over = [other for other in config.flows.values() if other.crm == flow.crm and maps_them(other)]
    if flow not in over:
        return None

    def taken(one: FlowConfig) -> frozenset[str]:
        return frozenset([*map(name_key, one.sub_companies), *([""] if one.default_sub_company else [])])

    tells = next((one for one in over if one.default_sub_company), over[0])
    column = config.systems[flow.crm].sub_company_column
    return SubCompanies(column, taken(flow), frozenset().union(*map(taken, over)), tells is flow)


def _creates_by_itself(flow: FlowConfig) -> bool:
    """Does the flow make customers in its ERP without being asked for each?"""
    return flow.direction in ("both", "to_erp") and flow.create_in_erp not in ("manual", "never")


def policy_of(flow: FlowConfig) -> Policy:
    """A flow's configuration as the merge uses it. A manager that is emptied does not travel unless it says so."""
    fields = {"account_manager": FieldPolicy(clear_on_empty=False)}
    for name, one in flow.fields.items():
        clear = one.clear_on_empty if one.clear_on_empty is not None else name != "account_manager"
        fields[name] = FieldPolicy(one.owner, clear)
    return Policy(
        direction=flow.direction,
        on_conflict=flow.on_conflict,
        initial=flow.initial,
        overwrite=flow.overwrite,
        fields=fields,
    )


def manager_translator(db: Database, flow: str, systems: Mapping[Side, str]) -> tuple[Translate, InStep]:
    """Account managers go through the mapping rows; other values are the same on both sides.

    The rows are read once per batch, and only if it compares a manager at all.
    """
    return translator_over(cache(lambda: managers.ways(db, flow)), systems)


def translator_over(rows: Callable[[], Sequence[MapRow]], systems: Mapping[Side, str]) -> tuple[Translate, InStep]:
    """The same, through these rows."""

    def to_other(name: str, source: Side, value: Value) -> Value | Missing:
        if name != "account_manager":
            return value
        found = translate(rows(), source, value if isinstance(value, str) else None, system=systems[source])
        return found.key if isinstance(found, Translated) else Missing(found.waiting_on_key, found.cause)

    def agree(name: str, erp: Value, crm: Value) -> bool:
        if name != "account_manager" or isinstance(erp, dict) or isinstance(crm, dict):
            return False
        return in_step(rows(), erp, crm)

    return to_other, agree


def _listeners(flow: Flow) -> list[Listener]:
    ears = []
    for side in SIDES:
        capabilities = flow.connectors[side].capabilities
        entities = (flow.entity, *capabilities.child_entities)
        masks = {entity: capabilities.mask(entity) for entity in entities}
        ears.append(Listener(flow.name, flow.entity, side, flow.systems[side], masks, side in flow.invoices_of))
    return ears
