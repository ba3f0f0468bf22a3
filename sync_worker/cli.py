"""``sync-worker``: the commands people and scripts type. Errors are one line: what, why, what to do.

Exit codes: 0 done, 1 the thing asked for did not succeed, 2 wrong usage or unusable configuration.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sync_worker import config as configuration
from sync_worker import logs
from sync_worker.connectors import CONNECTORS
from sync_worker.errors import ConfigError, SyncError
from sync_worker.output import Printer

app = typer.Typer(
    name="sync-worker",
    help="Keeps customers in step between a CRM and a Sage ERP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path | None, typer.Option("--config", help="sync.toml (else SYNC_CONFIG, else ./sync.toml)")]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout and nothing else")]
System = Annotated[str, typer.Argument(help="system name from sync.toml, e.g. erp")]
Key = Annotated[str, typer.Argument(help="API key or human reference of the record")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=64)]
Processes = Annotated[int, typer.Option("--processes", min=1, max=64)]
Port = Annotated[int, typer.Option("--port", min=0, max=65535)]


def main() -> None:
    """Entry point. Turns what may be expected to go wrong into one line and an exit code."""
    os.umask(0o077)  # what we store are customers' data
    try:
        app(standalone_mode=True)
    except ConfigError as error:
        _fail(str(error), 2)
    except SyncError as error:
        _fail(str(error), 1)
    except _database_errors() as error:
        _fail(f"the database cannot be used: {str(error.orig).splitlines()[0]}; sync-worker doctor checks it", 1)
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}; is SYNC_DATA_DIR right, and ours to write in?", 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def _database_errors() -> tuple[type[Any], ...]:
    """A database that is away or full; evaluated when something was raised, so that no command imports it for this."""
    loaded = sys.modules.get("sqlalchemy.exc")
    return (loaded.OperationalError,) if loaded is not None else ()


def _fail(line: str, code: int) -> None:
    print(f"sync-worker: {line}", file=sys.stderr)
    raise SystemExit(code)


def _load(path: Path | None) -> configuration.Config:
    found = configuration.load(path)
    logs.configure()
    return found


@app.command()
def run(
    config: ConfigPath = None,
    host: str = "127.0.0.1",
    port: Port = 8000,
    processes: Processes = 2,
    threads: Threads = 8,
) -> None:
    """Everything in one: migrations, embedded queue server, web, workers, scheduler."""
    from sync_worker import supervisor

    loaded = _load(config)
    _done(supervisor.run(loaded, host=host, port=port, processes=processes, threads=threads, config_path=loaded.path))


@app.command()
def web(config: ConfigPath = None, host: str = "127.0.0.1", port: Port = 8000) -> None:
    """Webhooks, health, metrics and the console."""
    from sync_worker.web import app as site

    _done(site.main(_load(config), host, port))


@app.command()
def worker(config: ConfigPath = None, processes: Processes = 1, threads: Threads = 8) -> None:
    """Work through what is due."""
    from sync_worker import supervisor
    from sync_worker import worker as process

    loaded = _load(config)
    if processes > 1:
        _done(supervisor.run_workers(processes=processes, threads=threads, config_path=loaded.path))
    _done(process.main(loaded, threads))


@app.command()
def scheduler(config: ConfigPath = None) -> None:
    """Rings for what is due, polls feeds, sweeps."""
    from sync_worker import scheduler as process

    _done(process.main(_load(config)))


@app.command()
def migrate(config: ConfigPath = None) -> None:
    """Bring the database to this version's tables."""
    from sync_worker.store import migrate as migrations

    migrations.upgrade(_load(config).database.url)
    print("database is up to date")


@app.command()
def doctor(config: ConfigPath = None, json: Json = False) -> None:
    """Check config, database, queue and every system's credentials and permissions."""
    from sync_worker import doctor as checks

    results = checks.run(_load(config))
    Printer(json).checks(results)
    _done(0 if all(r.ok for r in results) else 1)


@app.command()
def status(config: ConfigPath = None, json: Json = False) -> None:
    """Links by state, due now, oldest due, lag per flow, systems up or down."""
    from sync_worker import desk

    with desk.opened(_load(config)) as worker_app:
        Printer(json).status(desk.status(worker_app))


@app.command()
def explain(system: System, key: Key, config: ConfigPath = None, json: Json = False) -> None:
    """Why one record is the way it is, and what happens next."""
    from sync_worker import desk

    with desk.opened(_load(config)) as worker_app:
        found = desk.explain(worker_app, system, key)
        Printer(json).explanations(found)


@app.command()
def sync(
    system: Annotated[str | None, typer.Argument(help="system name from sync.toml")] = None,
    key: Annotated[str | None, typer.Argument(help="API key or human reference")] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="a flow, with --due")] = None,
    due: Annotated[bool, typer.Option("--due", help="everything that is due")] = False,
    config: ConfigPath = None,
) -> None:
    """Sync one record now (it may be created), or everything that is due."""
    from sync_worker import desk

    if (system is None or key is None) == (not due):
        raise typer.BadParameter("name one record (SYSTEM KEY), or give --due [--flow F]")
    with desk.opened(_load(config)) as worker_app:
        if system is not None and key is not None:
            found = desk.sync_record(worker_app, system, key)
            Printer(False).explanations(found)
            _done(0 if all(one["state"] not in ("failing", "conflict", "waiting") for one in found) else 1)
        else:
            print(f"{desk.sync_due(worker_app, flow)} links brought to an end")


@app.command()
def resolve(
    system: System,
    key: Key,
    field: Annotated[str, typer.Option("--field")],
    take: Annotated[str, typer.Option("--take", help="erp, crm, or =VALUE")],
    config: ConfigPath = None,
) -> None:
    """Settle a conflict: take one side's value, or one of your own for both."""
    from sync_worker import desk

    with desk.opened(_load(config)) as worker_app:
        print(desk.resolve(worker_app, system, key, field, take))


@app.command()
def replay(
    link: Annotated[int | None, typer.Option("--link", help="one link by its id")] = None,
    state: Annotated[str | None, typer.Option("--state", help="all links in a state")] = None,
    waiting_on: Annotated[str | None, typer.Option("--waiting-on", help="all links waiting on a key")] = None,
    flow: Annotated[str | None, typer.Option("--flow")] = None,
    config: ConfigPath = None,
) -> None:
    """Make links due again."""
    from sync_worker import desk

    if sum(x is not None for x in (link, state, waiting_on)) != 1:
        raise typer.BadParameter("give exactly one of --link, --state, --waiting-on")
    with desk.opened(_load(config)) as worker_app:
        count = desk.replay(worker_app, link=link, state=state, waiting_on=waiting_on, flow=flow)
    print(f"{count} links are due again")
    _done(0 if count else 1)


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="a flow or a system that is paused")], config: ConfigPath = None
) -> None:
    """Let a paused flow or system go on."""
    from sync_worker import desk

    with desk.opened(_load(config)) as worker_app:
        print(desk.resume(worker_app, name))


@app.command()
def emulate(
    name: Annotated[str, typer.Argument(help=" or ".join(CONNECTORS))],
    port: Port,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Run a vendor emulator on 127.0.0.1."""
    if name not in CONNECTORS:
        raise typer.BadParameter(f"no emulator for {name}; there are: {', '.join(CONNECTORS)}")
    from sync_worker.connectors.emulation import serve
    from sync_worker.processes import end_with_parent

    end_with_parent()
    make: Callable[..., Any] = importlib.import_module(CONNECTORS[name] + ".emulator").make
    serve(make(seed=seed), port=port)


def _done(code: int) -> None:
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
