"""Flows that share a system: what would mix up the records of two ERP companies is refused at load (GUMU-8, E21)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from mappings.codecs import collapse, fold
from sync_worker.config.flows import FlowConfig
from sync_worker.config.systems import SystemConfig
from sync_worker.config.values import problem


def over_the_same_crm(flows: Mapping[str, FlowConfig], name: str) -> list[str]:
    """The flows over the same records of a CRM as this one, itself included, in the file's order."""
    mine = flows[name]
    return [other for other, flow in flows.items() if (flow.crm, flow.entity) == (mine.crm, mine.entity)]


def check(systems: Mapping[str, SystemConfig], flows: Mapping[str, FlowConfig]) -> None:
    """Raises a problem of one line for two flows of which one would take the other's records for its own."""
    for (first, a), (second, b) in combinations(flows.items(), 2):
        if a.entity != b.entity:
            continue
        if a.erp == b.erp:
            _one_erp(first, a, second, b)
        elif a.crm == b.crm:
            _one_crm(systems, (first, a), (second, b))


def _one_erp(first: str, a: FlowConfig, second: str, b: FlowConfig) -> None:
    if a.crm == b.crm:
        text = f"the flow {first!r} already joins {a.erp!r} and {a.crm!r}; one flow does, with a filter where needed"
        raise problem(("flows", second, "erp"), text)
    if a.new_customer_id and a.new_customer_id == b.new_customer_id:
        text = f"the flow {first!r} gives the same ids in {a.erp!r}; each needs its own, like 'CRM2-{{crm_key}}'"
        raise problem(("flows", second, "new_customer_id"), text)


def _one_crm(
    systems: Mapping[str, SystemConfig], first: tuple[str, FlowConfig], second: tuple[str, FlowConfig]
) -> None:
    (name, a), (other, b) = first, second
    columns = systems[a.crm].own_columns
    if not columns.keys() & {"erp_key", "erp_ref"}:
        return  # no ids stand there: nothing to mix up
    shares = f"the flows {name!r} and {other!r} share {a.crm!r}, where ids count only inside their ERP company"
    names = {erp: fold(collapse(systems[erp].company)) for erp in (a.erp, b.erp)}
    for erp, company in names.items():
        if not company:
            raise problem(("systems", erp, "company"), f"{shares}: give {erp!r} a name here")
    if names[a.erp] == names[b.erp]:
        raise problem(("systems", b.erp, "company"), f"{shares}: {a.erp!r} and {b.erp!r} need different names")
    if "erp_company" not in columns:
        raise problem(("systems", a.crm, "columns"), f"{shares}: erp_company is needed beside erp_key and erp_ref")
