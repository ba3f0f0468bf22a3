"""Uploading a link file: every row checked first, then the good ones linked, as a run one can go on with (LAY-8).

Two walks. The first reads the file and asks the vendors, chunk by chunk; each row's verdict is kept as a row of the
run. The second links what was found good, in portions that are stored together with their verdicts, so that a run that
was interrupted does nothing twice. Memory holds one chunk, and three numbers per row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from sync_worker.connectors.context import writes_allowed
from sync_worker.desk import limits, link_preview, link_sheet
from sync_worker.desk.anew import Anew
from sync_worker.desk.holding import Say, TakenOver, held, lease_of
from sync_worker.desk.limits import Extent
from sync_worker.desk.link_claims import Claims
from sync_worker.desk.link_rows import Asked, Reader
from sync_worker.desk.link_sheet import NOT_DONE, WRONG
from sync_worker.desk.shared import ACTOR
from sync_worker.engine.flow import Flow
from sync_worker.errors import PermanentError, SyncError
from sync_worker.store import pairing, runs
from sync_worker.store.pairing import By, Paired, Wanted
from sync_worker.store.runs import Row, Run
from sync_worker.store.session import Database
from sync_worker.store.tables import link
from sync_worker.wiring import App

KIND, DRY_KIND = "links_upload", "links_upload_dry"
CHUNK = 500
GOOD = "good"  # checked, and still to be linked
VERDICTS = ("linked", "relinked", "unchanged", "skipped", "refused", WRONG)
SHOWN = 100  # wrong rows that a report names; all of them are in the error file

Progress = Callable[[str, int, int], None]


@dataclass
class Uploaded:
    """``counts``: one per verdict; together they are ``rows``. ``errors``: the first wrong rows, (line, texts).

    ``anew``: lines, where a preview of the same file had been looked at.
    """

    run: int
    dry_run: bool
    rows: int
    counts: dict[str, int]
    errors: list[tuple[int, list[str]]] = field(default_factory=list)
    anew: Anew[int] | None = None

    @property
    def wrong(self) -> int:
        return sum(self.counts[verdict] for verdict in NOT_DONE)

    def document(self) -> dict[str, Any]:
        """``links upload --json``."""
        errors = [{"line": line, "errors": texts} for line, texts in self.errors]
        anew = self.anew.document("lines") if self.anew is not None else {}
        return {"run": self.run, "dry_run": self.dry_run, "rows": self.rows, **self.counts, "errors": errors, **anew}


def upload(
    app: App,
    path: Path,
    flow: str | None = None,
    *,
    relink: bool = False,
    dry_run: bool = False,
    resume: bool = False,
    unlimited: bool = False,
    progress: Progress = lambda _what, _done, _total: None,
    say: Say | None = None,
) -> Uploaded:
    """Check and link the rows of a file; the wrong ones are left. Nothing is written at the vendors.

    ``resume``: go on with the run of this file that was interrupted. ``unlimited``: also beyond the flows' limits.
    ``say``: is told when the lease of an upload that was killed is waited for.
    Raises LimitReached once every row is checked and none is linked, SheetError and other SyncErrors; the run then
    rests, as it does after Ctrl-C. Raises PermanentError before anything is done while another upload of one of the
    flows is under way; a dry run takes no notice of others.
    """
    if flow is not None and flow not in app.flows:
        raise PermanentError(f"no flow {flow}; there are: {', '.join(sorted(app.flows))}")
    total = sum(1 for _ in link_sheet.open_sheet(path).lines)  # also: the whole file can be read
    alone = () if dry_run else sorted(app.flows) if flow is None else (flow,)
    with _held(app, alone, say) as renew:

        def tell(what: str, done: int, of: int) -> None:
            renew()
            progress(what, done, of)

        run = _run(app, path, flow, total, relink=relink, dry_run=dry_run, resume=resume)
        return _carried_out(_Upload(app, path, flow, run, total, tell, relink=relink, dry_run=dry_run), unlimited)


@contextmanager
def _held(app: App, flows: Iterable[str], say: Say | None) -> Iterator[Callable[[], None]]:
    """One upload of a flow at a time: two would count each other's rows as their own."""
    with ExitStack() as leases:
        renewals = [
            leases.enter_context(held(app, lease_of(KIND, flow), f"an upload of links of {flow}", say))
            for flow in flows
        ]

        def renew() -> None:
            for one in renewals:
                one()

        yield renew


def _carried_out(work: _Upload, unlimited: bool) -> Uploaded:
    allowed = writes_allowed.set(False)
    try:
        work.check()
        if not unlimited:
            work.within_limits()
        work.link()
    except TakenOver:
        raise
    except (KeyboardInterrupt, SyncError):
        work.stopped()
        raise
    finally:
        writes_allowed.reset(allowed)
    return work.ended()


def _run(app: App, path: Path, flow: str | None, total: int, *, relink: bool, dry_run: bool, resume: bool) -> Run:
    kind, name = DRY_KIND if dry_run else KIND, flow or ""
    params = {"file": path.name, "sha256": link_sheet.digest(path), "rows": total, "relink": relink}
    if not resume:
        return runs.begin(app.db, kind, name, ACTOR, params)
    found = runs.unfinished(app.db, kind, name)
    if found is None:
        raise PermanentError("no interrupted upload of this flow: leave out --resume")
    if {**found.params, "file": ""} != {**params, "file": ""}:
        raise PermanentError(
            f"the interrupted run {found.id} was of another file ({found.params.get('file')}), or without the same "
            "options: give those, or leave out --resume"
        )
    return found


def _key(line: int) -> str:
    """Lines as keys of a run's rows, in the order of the file."""
    return f"{line:09d}"


class _Upload:
    def __init__(
        self,
        app: App,
        path: Path,
        flow: str | None,
        run: Run,
        total: int,
        progress: Progress,
        *,
        relink: bool,
        dry_run: bool,
    ) -> None:
        self._app, self._path, self._only, self._run = app, path, flow, run
        self._total, self._progress = total, progress
        self._relink, self._dry_run = relink, dry_run
        self._before = None if dry_run else runs.previewed(app.db, run, DRY_KIND, but="file")

    @property
    def _db(self) -> Database:
        return self._app.db

    # --- the first walk ---

    def check(self) -> None:
        """Every row against the flows, the vendors and the others; what is checked already is not asked again."""
        position = self._run.position or {"phase": "check", "line": 0}
        if position["phase"] == "link":
            return
        reader = Reader(self._app, self._only)
        lines = iter(link_sheet.open_sheet(self._path).lines)
        done = 0
        while chunk := list(islice(lines, CHUNK)):
            done += len(chunk)
            fresh = [(line.number, line.cells) for line in chunk if line.number > position["line"]]
            if fresh:
                known = self._standing(reader.wanted_keys(fresh))
                self._remember(reader.read(fresh, known), fresh[-1][0])
            self._progress("checked", done, self._total)
        self._settle_claims()

    def _standing(self, crm_keys: Sequence[str]) -> dict[str, dict[str, tuple[str, str]]]:
        """Flow -> CRM key -> the customer it is linked with."""
        c = link.c
        query = select(c.flow, c.crm_key, c.erp_key, c.erp_ref).where(
            c.entity == "customer", c.crm_key.in_(crm_keys), c.erp_key.is_not(None)
        )
        found: dict[str, dict[str, tuple[str, str]]] = {}
        with self._db.read() as conn:
            for flow, crm_key, erp_key, erp_ref in conn.execute(query):
                found.setdefault(flow, {})[crm_key] = (erp_key, erp_ref)
        return found

    def _remember(self, asked: Sequence[Asked], last: int) -> None:
        rows = [Row(_key(one.line), _verdict(one), None, one.detail()) for one in asked]

        def store(conn: Connection) -> None:
            runs.put_rows_in(conn, self._run.id, rows)
            runs.note_in(conn, self._run.id, {"phase": "check", "line": last}, {"rows": self._total})

        self._db.run(store)

    def _settle_claims(self) -> None:
        """Two rows may not claim one record: both are wrong. A row that stands there twice counts once."""
        claims = Claims()
        for some in runs.rows(self._db, self._run.id, (GOOD, WRONG, "unchanged")):
            for row in some:
                claims.add(int(row.key), row.detail or {})
        problems = claims.problems()
        wanted = [_key(line) for line in sorted(problems)]
        for some in runs.rows(self._db, self._run.id, (GOOD, WRONG, "unchanged")) if wanted else ():
            changed = [
                Row(row.key, WRONG, None, _with_error(row.detail, problems[int(row.key)]))
                for row in some
                if int(row.key) in problems
            ]
            self._db.run(lambda conn, changed=changed: runs.put_rows_in(conn, self._run.id, changed))  # type: ignore[misc]  # bound per turn
        self._db.run(lambda conn: runs.note_in(conn, self._run.id, {"phase": "link"}, {"rows": self._total}))

    def within_limits(self) -> None:
        """Every new link may change a record; its first comparison empties none (E9). Raises LimitReached.

        A run that has linked some already has passed, and a dry run links none.
        """
        if self._dry_run or any(runs.tally(self._db, self._run.id).get(verdict) for verdict in ("linked", "relinked")):
            return
        new: Counter[str] = Counter()
        for some in runs.rows(self._db, self._run.id, (GOOD,)):
            new.update((row.detail or {})["flow"] for row in some)
        for name, count in new.items():
            look = f"sync-worker links upload {self._path} --dry-run"
            limits.check(Extent(changed=count), self._app.config.flows[name].limits, look)

    # --- the second walk ---

    def link(self) -> None:
        """Link what is good, portion by portion; verdicts are stored together with the links."""
        total = runs.tally(self._db, self._run.id).get(GOOD, 0)
        done = 0
        for some in runs.rows(self._db, self._run.id, (GOOD,)):
            by_flow: dict[str, list[Row]] = {}
            for row in some:
                by_flow.setdefault((row.detail or {})["flow"], []).append(row)
            for name, rows in by_flow.items():
                self._link(self._app.flows[name], rows)
            done += len(some)
            self._progress("decided", done, total)

    def _link(self, flow: Flow, rows: Sequence[Row]) -> None:
        anew = link_preview.planned_anew(self._db, flow, self._told(rows), rows)
        rows = [_marked(row) if row.key in anew else row for row in rows]
        wanted = [_wanted(row) for row in rows]
        by = By(ACTOR, "a row of an uploaded file", self._run.id, "bulk")

        def also(conn: Connection, paired: Sequence[Paired]) -> None:
            ended = zip(rows, paired, strict=True)
            runs.put_rows_in(conn, self._run.id, [_ended(flow, row, one) for row, one in ended])

        pairing.pair(self._db, flow.scope, wanted, by, relink=self._relink, dry_run=self._dry_run, also=also)

    def _told(self, rows: Sequence[Row]) -> dict[str, Row]:
        """What the preview kept of these rows, by key; nothing without one."""
        if self._before is None:
            return {}
        return {row.key: row for row in runs.rows_by_key(self._db, self._before.id, [row.key for row in rows])}

    def _planned_anew(self) -> Iterator[tuple[int, bool]]:
        """Lines that ended otherwise than the preview said, or whose records were edited before they were linked; and
        whether the preview knew them."""
        for some in runs.rows(self._db, self._run.id, VERDICTS):
            told = self._told(some)
            for row in some:
                mine = told.get(row.key)
                if mine is None or _ids(mine) != _ids(row) or (row.detail or {}).get("anew"):
                    yield int(row.key), mine is not None

    def stopped(self) -> None:
        """It rests, and can be gone on with."""
        runs.stop(self._db, self._run.id, {"rows": self._total})

    def ended(self) -> Uploaded:
        """Count the verdicts, which is what the run says of itself."""
        tally = Counter(runs.tally(self._db, self._run.id))
        counts = {verdict: tally[verdict] for verdict in VERDICTS}
        runs.end(self._db, self._run.id, "done", {"rows": self._total, **counts})
        errors = [(line, texts) for line, texts in islice(link_sheet.wrong_rows(self._db, self._run.id), SHOWN)]
        anew = Anew.of(self._planned_anew()) if self._before is not None else None
        return Uploaded(self._run.id, self._dry_run, self._total, counts, errors, anew)


def _marked(row: Row) -> Row:
    return Row(row.key, row.verdict, row.link_id, {**(row.detail or {}), "anew": True})


def _ids(row: Row) -> list[Any]:
    """What became of a row, and which records it names."""
    return [row.verdict, *((row.detail or {}).get(name) for name in ("flow", "crm_key", "erp_key"))]


def _verdict(one: Asked) -> str:
    if one.errors:
        return WRONG
    return "skipped" if one.blank else "unchanged" if one.same else GOOD


def _wanted(row: Row) -> Wanted:
    detail = row.detail or {}
    return Wanted(detail["crm_key"], detail.get("crm_ref", ""), detail["erp_key"], detail.get("erp_ref", ""))


def _ended(flow: Flow, row: Row, one: Paired) -> Row:
    detail = row.detail
    if one.verdict in ("refused", "busy"):
        detail = _with_error(detail, why_not(flow, one))
    return Row(row.key, "refused" if one.verdict == "busy" else one.verdict, one.link_id, detail)


def why_not(flow: Flow, one: Paired) -> str:
    """Why two records were not linked, and what to do."""
    if one.verdict == "busy":
        return "a partner of it is just being made: try again in a minute"
    crm, erp = flow.systems["crm"], flow.systems["erp"]
    standing = " and ".join(
        f"{crm} {o.crm_key} is linked with {erp} {o.erp_key} (link {o.link_id})" for o in one.others
    )
    return f"{standing}; --relink unlinks that first"


def _with_error(detail: Mapping[str, Any] | None, text: str) -> dict[str, Any]:
    found = dict(detail or {})
    return {**found, "errors": list(dict.fromkeys([*found.get("errors", []), text]))}
