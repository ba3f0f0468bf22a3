"""The long-running parts, what prepares them, and what checks them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.connectors import CONNECTORS
from sync_worker.output import Printer

Threads = Annotated[int, typer.Option("--threads", min=1, max=64)]
Processes = Annotated[int, typer.Option("--processes", min=1, max=64)]
Port = Annotated[int, typer.Option("--port", min=0, max=65535)]


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

    loaded = load(config)
    done(supervisor.run(loaded, host=host, port=port, processes=processes, threads=threads, config_path=loaded.path))


@app.command()
def web(config: ConfigPath = None, host: str = "127.0.0.1", port: Port = 8000) -> None:
    """Webhooks, health, metrics and the console."""
    from sync_worker.web import app as site

    done(site.main(load(config), host, port))


@app.command()
def worker(config: ConfigPath = None, processes: Processes = 1, threads: Threads = 8) -> None:
    """Work through what is due."""
    from sync_worker import supervisor
    from sync_worker import worker as process

    loaded = load(config)
    if processes > 1:
        done(supervisor.run_workers(processes=processes, threads=threads, config_path=loaded.path))
    done(process.main(loaded, threads))


@app.command()
def scheduler(config: ConfigPath = None) -> None:
    """Rings for what is due, polls feeds, sweeps."""
    from sync_worker import scheduler as process

    done(process.main(load(config)))


@app.command()
def migrate(config: ConfigPath = None) -> None:
    """Bring the database to this version's tables."""
    from sync_worker.store import migrate as migrations

    migrations.upgrade(load(config).database.url)
    print("database is up to date")


@app.command()
def doctor(config: ConfigPath = None, json: Json = False) -> None:
    """Check config, database, queue and every system's credentials and permissions."""
    from sync_worker import doctor as checks

    results = checks.run(load(config))
    Printer(json).checks(results)
    done(0 if all(r.ok for r in results) else 1)


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
