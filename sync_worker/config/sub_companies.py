"""Which flow takes a CRM's sub-companies (LAY-15): a mapping with gaps or overlaps is refused at load."""

from __future__ import annotations

from collections.abc import Mapping

from mappings.codecs import collapse, fold
from sync_worker.config.flows import FlowConfig
from sync_worker.config.systems import SystemConfig
from sync_worker.config.values import problem


def maps_them(flow: FlowConfig) -> bool:
    """Does this flow say which sub-companies it takes?"""
    return bool(flow.sub_companies) or flow.default_sub_company


def name_key(name: str) -> str:
    """Names of sub-companies count without regard to case and blanks."""
    return fold(collapse(name))


def check(systems: Mapping[str, SystemConfig], flows: Mapping[str, FlowConfig]) -> None:
    """Raises a problem of one line. Flows over one CRM all map sub-companies, or none does."""
    takers: dict[tuple[str, str], str] = {}
    defaults: dict[str, str] = {}
    mapping = {flow.crm for flow in flows.values() if maps_them(flow)}
    for name, flow in flows.items():
        if flow.crm not in mapping:
            continue
        if not maps_them(flow):
            text = f"other flows over {flow.crm!r} take sub-companies: name this flow's, or set default_sub_company"
            raise problem(("flows", name, "sub_companies"), text)
        if not systems[flow.crm].sub_company_column:
            text = f"{flow.crm!r} has no place for a sub-company: its profile needs customers.sub_company"
            raise problem(("flows", name, "sub_companies"), text)
        for one in flow.sub_companies:
            other = takers.setdefault((flow.crm, name_key(one)), name)
            if other != name:
                raise problem(("flows", name, "sub_companies"), f"{one!r} is already taken by the flow {other!r}")
        if flow.default_sub_company and defaults.setdefault(flow.crm, name) != name:
            text = f"the flow {defaults[flow.crm]!r} already takes the records without a sub-company"
            raise problem(("flows", name, "default_sub_company"), text)
