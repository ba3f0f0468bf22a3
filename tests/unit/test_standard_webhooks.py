"""Standard Webhooks: what is let in, what is refused, and that the script we hand out signs the same way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sync_worker.connectors.base import HookRefused
from sync_worker.connectors.sage_crm.hooks import read_hook
from sync_worker.connectors.standard_webhooks import read_events, secret_bytes, sign, verify
from sync_worker.events import Change

NOW = 1_800_000_000.0
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdefghijklmn").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, long enough").decode()
BODY = b'{"events":[{"entity":"customer","key":"43","op":"updated"}]}'


def headers(body: bytes = BODY, *, at: float = NOW, secret: str = SECRET, **more: str) -> dict[str, str]:
    stamp = str(int(at))
    signed = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": sign(secret, "msg_1", stamp, body),
    }
    return {**signed, **{name.replace("_", "-"): value for name, value in more.items()}}


def events(*rows: Any) -> bytes:
    return json.dumps({"events": list(rows)}).encode()


def refused(given: dict[str, str], body: bytes = BODY, *, now: float = NOW, secret: str = SECRET) -> int:
    with pytest.raises(HookRefused) as caught:
        read_hook("crm", secret, given, body, now)
    return caught.value.status


def test_the_published_example_of_the_specification_verifies() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verify(secret, given, b'{"test": 2432232314}', 1614265330.0) == given["webhook-id"]


def test_a_signed_notice_becomes_changes_with_ids_of_their_own() -> None:
    body = events(
        {"entity": "customer", "key": "43", "op": "updated", "at": "2026-11-22T10:00:00Z"},
        {"entity": "phone", "key": 77, "op": "created"},
    )
    assert read_hook("crm", SECRET, headers(body), body, NOW) == [
        Change("crm", "customer", "43", "updated", "webhook", "msg_1#0", 1_795_341_600.0),
        Change("crm", "phone", "77", "created", "webhook", "msg_1#1", None),
    ]


def test_the_tables_own_name_means_the_customer() -> None:
    body = events({"entity": "company", "key": "43", "op": "deleted"})
    assert [(c.entity, c.op) for c in read_hook("crm", SECRET, headers(body), body, NOW)] == [("customer", "deleted")]


def test_one_good_signature_among_several_is_enough() -> None:
    good = headers()["webhook-signature"]
    old = sign(OTHER, "msg_1", str(int(NOW)), BODY)
    assert len(read_hook("crm", SECRET, headers(webhook_signature=f"v1a,zzz {old} {good}"), BODY, NOW)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"webhook_signature": ""},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v2," + sign(SECRET, "msg_1", str(int(NOW)), BODY)[3:]},
        {"webhook_signature": "v1,ünïcode"},
        {"webhook_id": "msg_2"},
        {"webhook_id": ""},
        {"webhook_id": "\ud800"},
        {"webhook_timestamp": str(int(NOW) + 1)},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "1" * 400},
        {"webhook_timestamp": f"{NOW}"},
        {"webhook_timestamp": "１８００００００００"},
    ],
)
def test_a_forged_notice_is_401(change: dict[str, str]) -> None:
    assert refused(headers(**change)) == 401


def test_a_changed_body_is_401() -> None:
    assert refused(headers(), BODY.replace(b"43", b"44")) == 401


def test_another_secret_is_401_and_so_is_none() -> None:
    assert refused(headers(secret=OTHER)) == 401
    for unusable in ("", "whsec_", "whsec_###", "whsec_c2hvcnQ="):
        assert refused(headers(), secret=unusable) == 401


@pytest.mark.parametrize(("off", "ok"), [(-301, False), (-299, True), (299, True), (301, False)])
def test_five_minutes_off_is_tolerated_and_no_more(off: int, ok: bool) -> None:
    given = headers(at=NOW + off)
    if ok:
        assert verify(SECRET, given, BODY, NOW) == "msg_1"
    else:
        assert refused(given) == 401


def test_a_bad_signature_counts_before_an_unreadable_body() -> None:
    assert refused(headers(b"{"), b"{") == 400
    assert refused(headers(), b"{") == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"events": {}}',
        b'{"events": [1]}',
        b"[" * 100_000,
        events({"entity": "customer"}),
        events({"key": "43"}),
        events({"entity": "customer", "key": True}),
        events({"entity": "customer", "key": ""}),
        events({"entity": "customer", "key": "4" * 256}),
        events({"entity": "customer", "key": "4\0003"}),
        b'{"events": [{"entity": "customer", "key": "\\ud800"}]}',
    ],
)
def test_an_unreadable_body_is_400(body: bytes) -> None:
    assert refused(headers(body), body) == 400


def test_unknown_entities_and_ops_and_impossible_keys_are_acknowledged_and_ignored() -> None:
    body = events(
        {"entity": "spaceship", "key": "1", "op": "updated"},
        {"entity": "customer", "key": "1", "op": "painted"},
        {"entity": "customer", "key": "1", "op": "finalised"},
        {"entity": "customer", "key": "1 or 1 eq 1", "op": "updated"},
        {"entity": "customer", "key": "9", "op": "updated", "at": "yesterday", "customer": "7"},
    )
    assert read_hook("crm", SECRET, headers(body), body, NOW) == [
        Change("crm", "customer", "9", "updated", "webhook", "msg_1#4", None)
    ]


def test_lay_2_an_invoice_is_announced_with_its_customer() -> None:
    body = events({"entity": "invoice", "key": "INV-9", "op": "finalised", "customer": 43})
    assert read_hook("crm", SECRET, headers(body), body, NOW) == [
        Change("crm", "invoice", "INV-9", "finalised", "webhook", "msg_1#0", None, "43")
    ]


@pytest.mark.parametrize("customer", [{}, {"customer": None}, {"customer": ""}, {"customer": ["43"]}])
def test_lay_2_an_invoice_that_names_no_customer_is_400(customer: dict[str, object]) -> None:
    body = events({"entity": "invoice", "key": "INV-9", "op": "finalised", **customer})
    assert refused(headers(body), body) == 400


def test_lay_2_an_invoice_that_is_not_final_or_of_no_company_is_acknowledged_and_ignored() -> None:
    body = events(
        {"entity": "invoice", "key": "INV-9", "op": "created", "customer": "43"},
        {"entity": "invoice", "key": "INV-9", "op": "updated", "customer": "43"},
        {"entity": "invoice", "key": "INV-9", "op": "finalised", "customer": "43 or 1 eq 1"},
    )
    assert read_hook("crm", SECRET, headers(body), body, NOW) == []


def test_a_very_long_webhook_id_still_gives_ids_that_fit() -> None:
    body = events({"entity": "customer", "key": "1"}, {"entity": "customer", "key": "2"})
    first, second = read_events("crm", body, "m" * 5000, {"customer": "customer"})
    assert first.notice_id != second.notice_id
    assert len(str(first.notice_id)) < 255


def test_a_secret_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="base64"):
        secret_bytes("whsec_?")
    with pytest.raises(ValueError, match="shorter than 16 bytes"):
        secret_bytes("whsec_c2hvcnQ=")


# --- the script for Sage CRM, as the guide has it, run by Node with only what JScript has ------------------------

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "sage-crm-script.md"
HARNESS = """
const vm = require("vm");
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const sent = [];
class ServerXMLHTTP {
  constructor(name) { if (!/^MSXML2\\.ServerXMLHTTP/.test(name)) throw new Error(name); this.headers = {}; }
  setTimeouts() {}
  open(method, url, async) { Object.assign(this, {method, url, async}); }
  setRequestHeader(name, value) { this.headers[name.toLowerCase()] = value; }
  send(body) {
    sent.push({method: this.method, url: this.url, async: this.async, headers: this.headers, body});
    this.status = input.status;
  }
}
const CRM = {FindRecord(table, condition) {
  let at = 0;
  const record = column => input.rows[at][column];
  Object.defineProperty(record, "eof", {get: () => at >= input.rows.length});
  record.NextRecord = () => { at += 1; };
  return record;
}};
const world = vm.createContext({ActiveXObject: ServerXMLHTTP, CRM, WhereClause: input.where});
vm.runInContext("JSON = btoa = atob = TextEncoder = Buffer = require = Map = Set = undefined;", world);
vm.runInContext(input.script, world);
let thrown = null;
for (const call of input.calls) { try { vm.runInContext(call, world); } catch (error) { thrown = String(error); } }
const values = input.values.map(expression => vm.runInContext(expression, world));
console.log(JSON.stringify({sent, values, thrown}));
"""


def script(**settings: str) -> str:
    """The script of the guide with its settings filled in."""
    text = GUIDE.read_text(encoding="utf-8").split("```javascript\n")[1].split("```")[0]
    for name, value in {"HOOK_SECRET": f'"{SECRET}"', **settings}.items():
        text, changed = re.subn(
            rf"^var {name} = [^;]*;", lambda _, n=name, v=value: f"var {n} = {v};", text, flags=re.M
        )
        assert changed == 1, name
    return text


def run_script(text: str, *, where: str = "comp_companyid=43", **more: Any) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH: the Sage CRM script was not run")
    given = {"script": text, "where": where, "rows": [], "calls": [], "values": [], "status": 204, **more}
    done = subprocess.run(
        [node, "-e", HARNESS], check=False, input=json.dumps(given), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("function", "entity", "op"),
    [
        ("PostInsertRecord", "customer", "created"),
        ("UpdateRecord", "phone", "updated"),
        ("DeleteRecord", "customer", "deleted"),
    ],
)
def test_a_ping_of_the_script_is_accepted(function: str, entity: str, op: str) -> None:
    result = run_script(script(ENTITY=f'"{entity}"'), calls=["InsertRecord()", f"{function}()"])
    (sent,) = result["sent"]
    assert (sent["method"], sent["async"]) == ("POST", False)
    now = float(sent["headers"]["webhook-timestamp"])
    (change,) = read_hook("crm", SECRET, sent["headers"], sent["body"].encode(), now)
    assert (change.entity, change.key, change.op) == (entity, "43", op)


@pytest.mark.parametrize("where", ["comp_companyid=43", " (Comp_CompanyId = '43') ", "COMP_COMPANYID=N'43'"])
def test_the_script_reads_the_key_from_the_condition(where: str) -> None:
    (sent,) = run_script(script(), where=where, calls=["UpdateRecord()"])["sent"]
    assert sent["body"] == BODY.decode()


def test_the_script_looks_up_the_rows_of_any_other_condition() -> None:
    rows = [{"comp_companyid": key} for key in (43, "44", 'x"}')]
    (sent,) = run_script(script(), where="comp_type='Customer'", rows=rows, calls=["UpdateRecord()"])["sent"]
    assert [event["key"] for event in json.loads(sent["body"])["events"]] == ["43", "44"]
    many = [{"comp_companyid": key} for key in range(1, 500)]
    assert run_script(script(), where="comp_type='Customer'", rows=many, calls=["UpdateRecord()"])["sent"] == []


def test_every_ping_has_an_id_of_its_own() -> None:
    sent = run_script(script(), calls=["UpdateRecord()"] * 50)["sent"]
    assert len({one["headers"]["webhook-id"] for one in sent}) == 50


def test_a_worker_that_is_away_never_disturbs_the_user_unless_retries_are_wanted() -> None:
    assert run_script(script(), calls=["UpdateRecord()"], status=503)["thrown"] is None
    assert "503" in run_script(script(RETRY="true"), calls=["UpdateRecord()"], status=503)["thrown"]


def test_the_scripts_own_hashing_agrees_with_the_library() -> None:
    lengths = [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 200, 1000]
    texts = ["", "plain", "Zoë", "日本", "🙂 and more"]
    keys = [b"k" * length for length in (1, 24, 64, 65, 131)]
    messages = [[(7 * i + 255) % 256 for i in range(length)] for length in lengths]
    values = [f"sha256({m})" for m in messages] + [f"utf8({json.dumps(t)})" for t in texts]
    values += [f"hmac(fromBase64('{base64.b64encode(key).decode()}'), utf8('message'))" for key in keys]
    values += [f"toBase64({list(key)})" for key in (b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc")]
    got = run_script(script(), values=values)["values"]
    wanted: list[Any] = [list(hashlib.sha256(bytes(m)).digest()) for m in messages]
    wanted += [list(text.encode()) for text in texts]
    wanted += [list(hmac.new(key, b"message", hashlib.sha256).digest()) for key in keys]
    wanted += [base64.b64encode(key).decode() for key in (b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc")]
    assert got == wanted


def test_the_script_stays_within_the_language_that_the_server_has() -> None:
    code = re.sub(r"//.*|\"(?:\\.|[^\"\\])*\"|/\^.*?/", "0", script())
    later = (
        r"\b(?:let|const|class|JSON|async|await)\b|=>|`|===?\s*undefined|,\s*[\])}]|\.(?:map|forEach|trim|padStart)\("
    )
    assert re.findall(later, code) == []
