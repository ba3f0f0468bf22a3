"""What the tests of alerts share: configurations with a target, and links that have been in a state for so long."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, update

from support.hook_sink import HookSink
from support.mail import MailSink
from sync_worker import config as configuration
from sync_worker.alerts.rule import Subject
from sync_worker.alerts.standing import standing
from sync_worker.config import Config
from sync_worker.store.session import Database
from sync_worker.store.tables import link, open_field

HOUR = 3600.0
SECRET = "whsec_YWxlcnRzLXNlY3JldC1vZi10aGlydHktdHdvLWJ5dGVzLTA="
CUSTOMER = "Northwind Tools Ltd"
CONFIG = """
[web]
public_url = "https://sync.example"
[systems.erp]
connector = "intacct"
client_id = "a"
client_secret = "b"
username = "sync@ACME"
[systems.crm]
connector = "sage_crm"
base_url = "http://crm.test/sdata/crmj/sagecrm2/-"
username = "sync"
password = "demo-password"
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
[alerts]
"""


def parse(lines: str) -> Config:
    return configuration.parse(CONFIG + lines, environ={})


def by_mail(sink: MailSink, scheme: str = "smtp", user: str = "", option: str = "") -> Config:
    url = f"{scheme}://{user}127.0.0.1:{sink.port}{option}"
    return parse(f'smtp = "{url}"\nto = ["ops@acme.example", "boss@acme.example"]\n')


def by_hook(sink: HookSink) -> Config:
    return parse(f'webhook = "{sink.url}"\nwebhook_secret = "{SECRET}"\n')


def make_links(db: Database, count: int, *, state: str, cause: str, hours: float, **columns: Any) -> list[int]:
    """Links that have been in this state for so long, with a customer's name in their parameters."""
    now = db.clock()
    first = columns.pop("first", 0)
    values = {
        "flow": "customers", "entity": "customer", "state": state, "cause": cause, "created_at": now - 900 * HOUR,
        "state_at": now - hours * HOUR, "cause_params": {"reason": f"{CUSTOMER} is wrong", "fields": ["email"]},
        "erp_was": {"name": CUSTOMER, "email": "ada@northwind.example"},
    }  # fmt: skip
    rows = [{**values, "erp_key": f"{cause}-{state}-{first + n}", **columns} for n in range(count)]
    with db.write() as conn:
        return list(conn.execute(insert(link).returning(link.c.id), rows).scalars())


def wait_on(db: Database, ids: list[int], key: str) -> None:
    rows = [{"link_id": i, "field": "account_manager", "why": "waiting", "waiting_on": key, "at": 0.0} for i in ids]
    with db.write() as conn:
        conn.execute(insert(open_field), rows)


def end_all(db: Database) -> None:
    with db.write() as conn:
        conn.execute(update(link).values(state="in_sync", cause="", state_at=db.clock(), due_at=None))


def subjects(db: Database, config: Config) -> dict[Subject, int]:
    return {one.subject: one.count for one in standing(db, config)}


def text_of(sink: MailSink, number: int = -1) -> str:
    return str(sink.mails[number].get_content()).replace("\r\n", "\n")
