"""sync.toml: what it may say, what it means, and how clearly it is refused."""

from __future__ import annotations

import base64
import os
import re
import stat
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from sync_worker import config
from sync_worker.config import Config, IntacctConfig, SageCrmConfig
from sync_worker.config.report import key_lines
from sync_worker.errors import ConfigError

ROOT = Path(__file__).parents[2]
HOOK = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
ENV = {
    "INTACCT_CLIENT_ID": "client-7",
    "INTACCT_CLIENT_SECRET": "hunter22-intacct",
    "SAGECRM_USER": "crm-user-5",
    "SAGECRM_PASSWORD": "hunter22-crm",
    "SAGECRM_HOOK": HOOK,
    "SYNC_SECRET_KEY": Fernet.generate_key().decode(),
    "SMTP_URL": "smtp://u:hunter22-mail@mail.example",
}
SYSTEMS = """\
[systems.erp]
connector = "intacct"
client_id = "env:INTACCT_CLIENT_ID"
client_secret = "env:INTACCT_CLIENT_SECRET"
username = "sync@ACME"

[systems.crm]
connector = "sage_crm"
base_url = "https://crm.example/sdata/crmj/sagecrm2/-"
username = "env:SAGECRM_USER"
password = "env:SAGECRM_PASSWORD"
"""
FLOW = """
[flows.customers]
entity = "customer"
erp = "erp"
crm = "crm"
"""
FULL = f"""\
[database]
url = "sqlite:///var/sync.db"
[queue]
url = "redis://127.0.0.1:6379/3"
[web]
public_url = "http://127.0.0.1:8000"

[secrets]
key = "env:SYNC_SECRET_KEY"

{
    SYSTEMS.replace(
        'username = "sync@ACME"',
        '''username = "sync@ACME|UK"
entity = ""
company = "Acme UK"
poll_seconds = 60
stale_seconds = 30
sweep_seconds = 900
concurrency = 4
event_queue = true''',
    )
}
webhook_secret = "env:SAGECRM_HOOK"
timezone = "Europe/London"
poll_seconds = 60
concurrency = 2
default_country = "GB"
phone_types = {{ phone = "Business", mobile = "Modem", fax = "Fax" }}
  [systems.crm.columns]
  tax_number = "comp_vatnumber"
  erp_key = "comp_intacct_recordno"
  erp_ref = "comp_intacct_customerid"
  erp_company = "comp_intacct_company"
{FLOW}
direction = "both"
create_in_erp = "on_first_invoice"
create_in_crm = "on_create"
on_conflict = "review"
initial = "review"
new_customer_id = "CRM-{{crm_key}}"
match_policy = "strict_gumu"
overwrite = false
limits = {{ changed = 1000, blanked = 50, unlinked = 20 }}
  [flows.customers.filter]
  crm = {{ Comp_Type = ["Customer"], comp_sort = 3 }}
  [flows.customers.defaults]
  erp = {{ "term.id" = "Net 30", "customerType.id" = "Trade" }}
  crm = {{ Comp_Type = "Customer" }}
  [flows.customers.fields]
  account_manager = {{ owner = "both", clear_on_empty = false }}
  "address.city" = {{ max_erp = 20 }}
  region = {{ owner = "erp", max_crm = 40 }}
  [flows.customers.custom.region]
  erp = "nsp::REGION"
  crm = "comp_region"

[alerts]
smtp = "env:SMTP_URL"
to = ["ops@acme.example"]
webhook = ""
after_hours = 4

[retention]
events_days = 90
journal_days = 730
"""


def refusal(text: str, environ: dict[str, str] | None = None) -> str:
    """The message with which a text is refused: always one line, never a secret's value."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text, ENV if environ is None else environ)
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter22" not in message
    return message


def changed(old: str, new: str) -> str:
    text = SYSTEMS + FLOW
    assert old in text
    return text.replace(old, new)


def line_of(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_everything_of_the_documented_example_is_understood() -> None:
    c = config.parse(FULL, ENV)
    erp, crm, flow = c.systems["erp"], c.systems["crm"], c.flows["customers"]
    assert isinstance(erp, IntacctConfig)
    assert isinstance(crm, SageCrmConfig)
    assert (erp.base_url, erp.company, erp.event_queue) == ("https://api.intacct.com/ia/api/v1", "Acme UK", True)
    assert erp.client_secret.get_secret_value() == "hunter22-intacct"
    assert crm.columns.named()["erp_key"] == "comp_intacct_recordno"
    assert crm.phone_types["mobile"] == "Modem"
    assert (flow.create_in_erp, flow.match_policy) == ("on_first_invoice", "strict_gumu")
    assert flow.filter.crm == {"Comp_Type": ("Customer",), "comp_sort": ("3",)}
    assert flow.defaults.erp == {"term.id": "Net 30", "customerType.id": "Trade"}
    assert flow.fields["account_manager"].clear_on_empty is False
    assert (flow.fields["address.city"].max_erp, flow.fields["region"].max_crm) == (20, 40)
    assert (flow.custom["region"].erp, flow.custom["region"].crm) == ("nsp::REGION", "comp_region")
    assert (c.alerts.webhook, c.alerts.to) == (None, ("ops@acme.example",))


def test_what_is_not_said_has_the_documented_value() -> None:
    c = config.parse(SYSTEMS + FLOW, ENV)
    erp, crm, flow = c.systems["erp"], c.systems["crm"], c.flows["customers"]
    assert (c.database.url, c.queue.url, c.data_dir) == ("sqlite:///var/sync.db", None, Path("var"))
    assert (erp.poll_seconds, erp.stale_seconds, erp.sweep_seconds, erp.concurrency) == (60, 30, 900, 4)
    assert (crm.concurrency, crm.event_queue) == (2, False)
    assert (flow.direction, flow.create_in_erp, flow.create_in_crm) == ("both", "on_create", "on_create")
    assert (flow.on_conflict, flow.initial, flow.overwrite) == ("review", "review", False)
    assert (flow.new_customer_id, flow.match_policy) == ("CRM-{crm_key}", "ladder")
    assert flow.limits.model_dump() == {"changed": 1000, "blanked": 50, "unlinked": 20}
    assert (c.retention.events_days, c.retention.journal_days, c.alerts.after_hours) == (90, 730, 4)


def test_the_example_file_loads(tmp_path: Path) -> None:
    c = config.load(ROOT / "sync.example.toml", ENV)
    assert set(c.systems) == {"erp", "crm"}
    assert c.path == ROOT / "sync.example.toml"


def test_no_repr_shows_a_secret() -> None:
    shown = repr(config.parse(FULL, ENV | {"DATABASE_URL": "postgresql://sync:hunter22@db/x"}))
    for value in ENV.values():
        assert value not in shown
    assert "hunter22" not in shown


# ----- where it is found


def test_the_path_given_wins_over_sync_config_and_that_over_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, days in (("given.toml", 1), ("named.toml", 2), ("sync.toml", 3)):
        (tmp_path / name).write_text(f"[retention]\nevents_days = {days}\n")
    named = {"SYNC_CONFIG": str(tmp_path / "named.toml")}
    assert config.load(tmp_path / "given.toml", named).retention.events_days == 1
    assert config.load(None, named).retention.events_days == 2
    assert config.load(None, {}).retention.events_days == 3


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_not_there_or_not_text_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "sync.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"sync\.toml (is not there: give --config|cannot be read: it is not UTF-8)"):
        config.load(file, {})


def test_a_directory_instead_of_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path, {})


def test_a_windows_editors_mark_at_the_start_is_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "sync.toml"
    file.write_bytes(b"\xef\xbb\xbf[web]\r\npublic_url = 'https://sync.example/'\r\n")
    assert config.load(file, {}).web.public_url == "https://sync.example"


# ----- the environment


def test_any_value_may_come_from_the_environment() -> None:
    text = SYSTEMS + 'poll_seconds = "env:POLL"\n' + FLOW + 'overwrite = "env:YES"\ndirection = "env:WAY"\n'
    text += '[alerts]\nto = ["env:OPS"]\n'
    c = config.parse(text, ENV | {"POLL": "5", "YES": "true", "WAY": "to_crm", "OPS": "a@b.example"})
    assert c.systems["crm"].poll_seconds == 5
    assert (c.flows["customers"].overwrite, c.flows["customers"].direction) == (True, "to_crm")
    assert c.alerts.to == ("a@b.example",)


def test_a_missing_variable_is_named_with_the_key_and_the_line() -> None:
    environ = {name: text for name, text in ENV.items() if name != "SAGECRM_PASSWORD"}
    line = line_of(SYSTEMS, "SAGECRM_PASSWORD")
    assert refusal(SYSTEMS + FLOW, environ) == (
        f"sync.toml line {line}: systems.crm.password: the environment variable SAGECRM_PASSWORD is not set: "
        "set it, or take the line out where it is optional"
    )


def test_variables_that_are_missing_are_all_named_at_once_in_the_order_of_the_file() -> None:
    text = SYSTEMS + FLOW
    names = sorted(set(re.findall(r'"env:(\w+)"', text)), key=text.index)
    assert len(names) > 2
    said = refusal(text, {})
    assert said.startswith(f"sync.toml line {line_of(text, names[0])}: ")
    assert f"environment variables are not set: {', '.join(names)}; set them" in said


def test_a_wrong_value_from_the_environment_is_not_shown() -> None:
    message = refusal(SYSTEMS + FLOW + 'direction = "env:WAY"\n', ENV | {"WAY": "hunter22"})
    assert "flows.customers.direction (from WAY)" in message
    assert "allowed: both, to_crm, to_erp, none" in message


def test_a_reference_without_a_name_is_refused() -> None:
    assert 'must be "env:NAME"' in refusal(SYSTEMS.replace("env:SAGECRM_USER", "env:"))


@pytest.mark.parametrize("text", ["", '[database]\nurl = "sqlite:///x.db"\n[queue]\nurl = "redis://x/1"\n'])
def test_database_url_and_redis_url_win_over_the_file(text: str) -> None:
    c = config.parse(text, {"DATABASE_URL": "postgresql+psycopg://db/sync", "REDIS_URL": "rediss://q:1/2"})
    assert (c.database.url, c.queue.url) == ("postgresql+psycopg://db/sync", "rediss://q:1/2")


@pytest.mark.parametrize("end", ["q:port/0", "q:99999/0", "q/rings", "[::1/0"])
def test_an_address_of_the_queue_that_is_none_is_refused(end: str) -> None:
    message = refusal(f'[queue]\nurl = "redis://:hunter22@{end}"\n')
    assert message.startswith("sync.toml line 2: queue.url: must be like redis://:PASSWORD@HOST:PORT/NUMBER")


@pytest.mark.parametrize(
    "url", ["redis://", "redis://:p@q:1/", "rediss://q/3?db=2", "redis://[::1]:7/1", "unix:///a/b"]
)
def test_every_form_of_the_queues_address_is_understood(url: str) -> None:
    assert config.parse("", {"REDIS_URL": url}).queue.url == url


def test_a_wrong_database_url_names_its_variable_and_not_its_value() -> None:
    message = refusal("", {"DATABASE_URL": "mysql://u:hunter22@db/x"})
    assert message == (
        "sync.toml: database.url (from DATABASE_URL): must begin with sqlite:/// or postgresql+psycopg://"
    )


@pytest.mark.parametrize("short", ["postgres://u@db/sync", "postgresql://u@db/sync"])
def test_the_short_forms_of_postgresql_addresses_are_understood(short: str) -> None:
    assert config.parse("", {"DATABASE_URL": short}).database.url == "postgresql+psycopg://u@db/sync"


def test_data_lies_where_sync_data_dir_says_and_the_database_with_it() -> None:
    c = config.parse("", {"SYNC_DATA_DIR": "/data/sync"})
    assert (c.data_dir, c.database.url) == (Path("/data/sync"), "sqlite:////data/sync/sync.db")


# ----- what is wrong, in one line


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        (SYSTEMS + "clinet_id = 1\n", "systems.crm.clinet_id", "unknown key"),
        (SYSTEMS + "pasword = 'x'\n", "systems.crm.pasword", "did you mean 'password'?"),
        (SYSTEMS + FLOW + "diretcion = 'both'\n", "flows.customers.diretcion", "did you mean 'direction'?"),
        (SYSTEMS + FLOW + "limits = { chnaged = 1 }\n", "flows.customers.limits.chnaged", "did you mean 'changed'?"),
        (SYSTEMS + "[systems.crm.columns]\nerp_kee = 'x'\n", "systems.crm.columns.erp_kee", "did you mean 'erp_key'?"),
        (SYSTEMS + "phone_types = { mobil = 'Modem' }\n", "systems.crm.phone_types.mobil", "did you mean 'mobile'?"),
        ("[databse]\nurl = 'x'\n", "databse", "did you mean 'database'?"),
        ("[web]\nquux = 1\n", "web.quux", "allowed: public_url"),
    ],
)
def test_an_unknown_key_names_its_line_and_the_nearest_known_one(text: str, key: str, hint: str) -> None:
    message = refusal(text)
    line = line_of(text, key.rpartition(".")[2])
    assert message.startswith(f"sync.toml line {line}: {key}: unknown key")
    assert hint in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("direction", "boht", "did you mean 'both'?; allowed: both, to_crm, to_erp, none"),
        ("on_conflict", "newest", "allowed: review, erp, crm"),
        ("initial", "ERPP", "allowed: review, erp, crm"),
        ("create_in_erp", "always", "allowed: on_create, on_change, on_first_invoice, manual, never"),
        ("create_in_crm", "on_creat", "did you mean 'on_create'?"),
        ("match_policy", "fuzzy", "allowed: ladder, strict_gumu"),
    ],
)
def test_a_value_that_is_not_allowed_lists_what_is(key: str, value: str, allowed: str) -> None:
    text = SYSTEMS + FLOW + f'{key} = "{value}"\n'
    message = refusal(text)
    assert message.startswith(f"sync.toml line {line_of(text, value)}: flows.customers.{key}: '{value}' is not allowed")
    assert allowed in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('connector = "intacct"', 'connector = "intact"', "systems.erp.connector: 'intact' is not allowed; did you"),
        ('connector = "intacct"\n', "", "systems.erp.connector: is missing: add it"),
        (
            'client_id = "env:INTACCT_CLIENT_ID"\n',
            "",
            'systems.erp.client_id: is missing: add it, as a value or as "env:NAME"',
        ),
        ('password = "env:SAGECRM_PASSWORD"\n', "", "systems.crm.password: is missing"),
        ('"sync@ACME"', '"sync"', "systems.erp.username: must be user@company"),
        ('"sync@ACME"', '"sync@ACME"\naccount_manager = "manager"', "account_manager: must be a custom field of the"),
        ("https://crm.example", "crm.example", "systems.crm.base_url: must be an address like https://"),
        ("https://crm.example", "https://me:hunter22@crm.example", "systems.crm.base_url: must be an address"),
        ("https://crm.example", "https://crm example", "systems.crm.base_url: must be an address"),
        ("https://crm.example", "https://crm..example", "systems.crm.base_url: must be an address"),
        ("https://crm.example", "https://crm.example/\\u0000", "systems.crm.base_url: must be an address"),
        ('"env:SAGECRM_USER"', '"hunter22\\n"', "systems.crm.username: must not hold a line break"),
        ('entity = "customer"', 'entity = "custommer"', "flows.customers.entity: 'custommer' is not allowed"),
        ('erp = "erp"', 'erp = "sage"', "flows.customers.erp: there is no system 'sage'; systems: crm, erp"),
        ('crm = "crm"', 'crm = "crmm"', "flows.customers.crm: there is no system 'crmm'; did you mean 'crm'?"),
        ('erp = "erp"', 'erp = "crm"', "flows.customers.erp: 'crm' is no erp (sage_crm); allowed: erp"),
        ('erp = "erp"\n', "", "flows.customers.erp: is missing"),
        ("[flows.customers]", '[flows."all customers"]', "flows.all customers: a name is at most 64 letters"),
    ],
)
def test_each_mistake_has_its_line_and_its_remedy(old: str, new: str, expected: str) -> None:
    message = refusal(changed(old, new))
    assert re.match(r"sync\.toml line \d+: ", message)
    assert expected in message


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("poll_seconds = 0", "systems.crm.poll_seconds: must be greater than or equal to 1"),
        ("poll_seconds = inf", "systems.crm.poll_seconds: must be a finite number"),
        ('poll_seconds = "soon"', "systems.crm.poll_seconds: must be a valid number"),
        ("concurrency = 1.5", "systems.crm.concurrency: must be a valid integer"),
        ('timezone = "Europe/Londn"', "is no IANA time zone; did you mean 'Europe/London'?"),
        ('default_country = "GBR"', "must be a two-letter country code"),
        ('default_country = "UK"', "must be a two-letter country code of ISO 3166 like"),
        ('default_country = "UK"', "did you mean 'GB'?"),
        ('default_country = "ZZ"', "must be a two-letter country code of ISO 3166"),
        ('webhook_secret = "hunter22"', "systems.crm.webhook_secret: must be whsec_"),
        ('webhook_secret = "whsec_hunter22"', "systems.crm.webhook_secret: must be whsec_"),
        ('phone_types = { mobile = "Business" }', "two fields share a link type"),
        ("columns = 3", "systems.crm.columns: must be a table"),
        ("event_queue = true", "systems.crm.event_queue: unknown key"),
    ],
)
def test_a_value_of_the_wrong_kind_says_what_it_must_be(added: str, expected: str) -> None:
    text = SYSTEMS + added + "\n"
    message = refusal(text)
    assert message.startswith(f"sync.toml line {len(text.splitlines())}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ('new_customer_id = "CRM"', "must contain {crm_key} once"),
        ('new_customer_id = "{crm_key}{name}"', "must contain {crm_key} once"),
        ('new_customer_id = "{crm_key:999999999999}"', "must contain {crm_key} once"),
        ('new_customer_id = "{crm_key"', "must contain {crm_key} once"),
        ("filter = { crm = { Comp_Type = [] } }", "flows.customers.filter.crm.Comp_Type: "),
        ('fields = { adress = { owner = "erp" } }', "unknown field; did you mean 'address'?"),
        ('fields = { "address.town" = { max_erp = 3 } }', "unknown field"),
        ('fields = { "address.city" = { owner = "erp" } }', "a part has only max_erp and max_crm"),
        ('fields = { name = { owner = "sage" } }', "'sage' is not allowed; allowed: erp, crm, both, none"),
        ('custom = { name = { erp = "a", crm = "b" } }', "belongs to a built-in field"),
        ('custom = { "Région" = { erp = "a", crm = "b" } }', "a field's name is small letters"),
        ('custom = { region = { erp = "a" } }', "flows.customers.custom.region.crm: is missing"),
        ("limits = { unlinked = -1 }", "flows.customers.limits.unlinked: must be greater than or equal to 0"),
    ],
)
def test_a_flows_settings_are_checked(added: str, expected: str) -> None:
    text = SYSTEMS + FLOW + added + "\n"
    message = refusal(text)
    assert message.startswith(f"sync.toml line {len(text.splitlines())}: flows.customers.")
    assert expected in message


def test_the_first_of_several_mistakes_is_told_and_the_others_are_counted() -> None:
    text = changed("https://crm.example", "crm.example") + 'direction = "boht"\n[retention]\nevents_days = 0\n'
    message = refusal(text)
    assert "systems.crm.base_url" in message
    assert message.endswith("(and 2 more)")


def test_broken_toml_names_its_line() -> None:
    message = refusal('[web]\npublic_url = "http://x\n')
    assert message.startswith("sync.toml is no valid TOML: ")
    assert "line 2" in message


@pytest.mark.parametrize("value", ["[" * 5000 + "]" * 5000, "9" * 5000])
def test_toml_beyond_what_python_takes_is_one_line(value: str) -> None:
    message = refusal(f"[web]\nport = {value}\n")
    assert message.startswith("sync.toml is no valid TOML: ") and "\n" not in message


def test_two_flows_may_share_one_crm() -> None:
    second = SYSTEMS.replace("[systems.erp]", "[systems.erp2]").split("[systems.crm]")[0]
    text = SYSTEMS + second + FLOW + FLOW.replace("customers", "customers_de").replace('"erp"', '"erp2"')
    c = config.parse(text, ENV)
    assert {flow.crm for flow in c.flows.values()} == {"crm"}
    assert {flow.erp for flow in c.flows.values()} == {"erp", "erp2"}


def test_lines_are_found_through_quotes_lists_long_strings_and_nested_tables() -> None:
    text = """\
a = [
  "x", # ]
  'y = 1',
]
b.c = '''
[not.a.table]
d = 1
'''
[t."u.v"]
  "w x" = { y = { z = 1 } }
[t.q]
r = 2
[[many]]
s = 1
"""
    assert key_lines(text) == {
        ("a",): 1,
        ("b",): 5,
        ("b", "c"): 5,
        ("t", "u.v"): 9,
        ("t", "u.v", "w x"): 10,
        ("t", "u.v", "w x", "y"): 10,
        ("t", "u.v", "w x", "y", "z"): 10,
        ("t", "q"): 11,
        ("t", "q", "r"): 12,
        ("many",): 13,
        ("many", "s"): 14,
    }


# ----- the key for stored secrets


def test_a_configured_key_is_used_and_several_rotate() -> None:
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    text = '[secrets]\nkey = "env:KEYS"\n'
    assert config.parse(text, {"KEYS": f"{keys[0]}, {keys[1]}"}).secret_keys() == keys


def test_a_configured_key_that_is_none_is_refused() -> None:
    assert "secrets.key: must be 32 random bytes" in refusal('[secrets]\nkey = "hunter22"\n')


def test_without_a_configured_key_one_is_made_for_its_owner_only_and_kept(tmp_path: Path) -> None:
    c = config.parse("", {"SYNC_DATA_DIR": str(tmp_path / "var")})
    first = c.secret_keys()
    assert Fernet(first[0])
    assert c.secret_keys() == first
    assert stat.S_IMODE((tmp_path / "var" / "secret.key").stat().st_mode) == 0o600
    assert [f.name for f in (tmp_path / "var").iterdir()] == ["secret.key"]


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    c = config.parse("", {"SYNC_DATA_DIR": str(tmp_path)})
    start, found = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        found.extend(c.secret_keys())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    c = config.parse("", {"SYNC_DATA_DIR": str(tmp_path)})
    c.secret_keys()
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others: chmod 600"):
        c.secret_keys()


def test_a_key_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    for rubbish in (b"", b"\xff\xfe", b"hunter22", b"c2hvcnQ="):
        file.write_bytes(rubbish)
        file.chmod(0o600)
        with pytest.raises(ConfigError) as caught:
            config.parse(SYSTEMS + FLOW, ENV | {"SYNC_DATA_DIR": str(tmp_path)}).secret_keys()
        assert str(caught.value) == f"{file} holds no key: restore it from your copy"


def test_a_config_made_in_code_is_checked_the_same_way() -> None:
    with pytest.raises(ValueError, match="there is no system"):
        Config.model_validate({"flows": {"c": {"entity": "customer", "erp": "a", "crm": "b"}}})
    assert Config().data_dir == Path(os.environ.get("SYNC_DATA_DIR") or "var")


# --- several ERP companies on one CRM (GUMU-8) ------------------------------------------------------------------------


def of_two(company: str, other: str, columns: str, more: str = "") -> str:
    """Two flows over one CRM, with these company names and key columns."""
    erp, crm = SYSTEMS.split("[systems.crm]")
    second = erp.replace("[systems.erp]", "[systems.erp2]")
    text = erp + f'company = "{company}"\n' + second + f'company = "{other}"\n' + "[systems.crm]" + crm + columns
    return text + FLOW + FLOW.replace("customers", "customers_de").replace('"erp"', '"erp2"') + more


KEYS = '[systems.crm.columns]\nerp_key = "comp_key"\n'
ALL_KEYS = KEYS + 'erp_company = "comp_company"\n'


@pytest.mark.parametrize(
    ("text", "named", "why"),
    [
        (of_two("Acme", "", ALL_KEYS), "systems.erp2.company", "give 'erp2' a name here"),
        (of_two("Acme", " ACME ", ALL_KEYS), "systems.erp2.company", "need different names"),
        (of_two("Acme UK", "Acme DE", KEYS), "systems.crm.columns", "erp_company is needed"),
    ],
)
def test_gumu_8_flows_that_would_mix_up_two_companies_ids_are_refused_in_one_line(
    text: str, named: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, ENV)
    message = str(caught.value)
    assert named in message and why in message and "\n" not in message


def test_gumu_8_two_companies_with_names_and_a_company_column_may_share_a_crm() -> None:
    c = config.parse(of_two("Acme UK", "Acme DE", ALL_KEYS), ENV)
    assert c.sharing("customers") == c.sharing("customers_de") == ["customers", "customers_de"]


def test_gumu_8_two_flows_over_the_same_two_systems_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"flows\.twice\.erp.*'customers' already joins 'erp' and 'crm'"):
        config.parse(SYSTEMS + FLOW + FLOW.replace("customers", "twice"), ENV)


def test_gumu_8_two_flows_that_share_an_erp_need_ids_of_their_own() -> None:
    crm2 = "[systems.crm2]" + SYSTEMS.split("[systems.crm]")[1]
    second = FLOW.replace("customers", "other").replace('"crm"', '"crm2"')
    with pytest.raises(ConfigError, match=r"flows\.other.*each needs its own, like 'CRM2-\{crm_key\}'"):
        config.parse(SYSTEMS + crm2 + FLOW + second, ENV)
    config.parse(SYSTEMS + crm2 + FLOW + second + 'new_customer_id = "CRM2-{crm_key}"\n', ENV)
