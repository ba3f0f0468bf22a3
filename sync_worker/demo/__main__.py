"""``python -m sync_worker.demo [--stay]``: exit code 0 only when every edit arrived and nothing was written at rest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from sync_worker import desk, logs
from sync_worker.demo.installation import Stopped
from sync_worker.demo.measure import Edit
from sync_worker.demo.ports import is_free
from sync_worker.demo.show import follow, say, write_report
from sync_worker.demo.stage import Stage, stage
from sync_worker.demo.tour import Tour
from sync_worker.demo.vendor import VendorAway
from sync_worker.errors import SyncError
from sync_worker.processes import StopSignal

WEB_PORT = 8000
WATCH_SECONDS = 4.0


def main() -> int:
    """Run the tour, or stay up; the exit code (130 after Ctrl-C in the tour, 0 with ``--stay``)."""
    parser = argparse.ArgumentParser(prog="python -m sync_worker.demo", description="Everything on this machine.")
    parser.add_argument("--stay", action="store_true", help="no tour: stay up until Ctrl-C")
    stay = parser.parse_args().stay
    console = Console()
    base = Path(os.environ.get("SYNC_DATA_DIR") or "var")
    stop = StopSignal()
    port = WEB_PORT if stay and is_free(WEB_PORT) else None
    try:
        logs.configure("warning")
        create = "on_create" if stay else "on_first_invoice"  # the tour shows an invoice at work
        with stage(base / "demo", stop, web_port=port, create_in_crm=create) as made:
            say(console, "Starting two emulated vendors, the queue server, the worker and the status page ...")
            made.start("info" if stay else "debug")
            return _stay(console, made) if stay else _tour(console, made, base / "demo-report.json")
    except Stopped:
        say(console, "Stopped.")
        return 0 if stay else 130
    except (SyncError, VendorAway) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1


def _tour(console: Console, made: Stage, report: Path) -> int:
    say(console, f"Ready: status page {made.web}/, vendors answer in about 20 ms.")
    with desk.opened(made.config) as app:
        tour = Tour(made, app)
        edits: list[Edit] = follow(console, tour.play())
        say(console, "Waiting until everything is at rest ...")
        writes = tour.measure.writes_after_rest(WATCH_SECONDS)
    ok = write_report(report, edits, writes)
    arrived = sum(edit.arrived for edit in edits)
    rest = "it did not come to rest" if writes is None else f"writes after rest: {writes}"
    say(console, f"{arrived} of {len(edits)} edits arrived; {rest}. Report: {report}", "green" if ok else "red")
    if not ok:
        say(console, f"What happened is in {made.log}")
    return 0 if ok else 1


def _stay(console: Console, made: Stage) -> int:
    shown = "_emulator/records?entity"
    say(console, f"Status: {made.web}/ (a page of numbers; no login exists yet)")
    say(console, f"ERP:    {made.erp.root} (emulated Sage Intacct; its customers: {made.erp.root}/{shown}=customer)")
    say(console, f"CRM:    {made.crm.root} (emulated Sage CRM; its companies: {made.crm.root}/{shown}=Company)")
    say(console, "Try, in another terminal: a company made in the CRM, what the ERP has of it, and an edit there:")
    person = '/_emulator/person -d \'{"entity": '
    created = '"Company", "columns": {"Comp_Name": "Orchard Foods"}}\''
    edited = '"customer", "key": "1", "columns": {"name": "Orchard Foods Ltd"}}\''
    say(console, f"  curl {made.crm.root}{person}{created}")
    say(console, f"  curl '{made.erp.root}/_emulator/record?entity=customer&key=1'")
    say(console, f"  curl {made.erp.root}{person}{edited}")
    say(console, f"Logs and data lie in {made.folder}. Ctrl-C ends all of it.")
    while True:
        made.pause(0.5)


if __name__ == "__main__":
    sys.exit(main())
