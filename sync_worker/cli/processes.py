"""The long-running parts, what prepares them, and what checks them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sync_worker.cli.shared import ConfigPath, Json, app, done, load
from sync_worker.connectors import EMULATORS
from sync_worker.output import Printer, records
from sync_worker.processes import end_with_parent, exit_on_signal, listen

Threads = Annotated[int, typer.Option("--threads", min=1, max=64)]
Processes = Annotated[int, typer.Option("--processes", min=1, max=64)]
Port = Annotated[int, typer.Option("--port", min=0, max=65535)]
MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", min=0, max=65535, help="/metrics and /healthz, where no web process runs"),
]
MetricsHost = Annotated[str, typer.Option("--metrics-host")]


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
    """Webhooks, health, metrics, the status page and the API."""
    from sync_worker.web import app as site

    done(site.main(load(config), host, port))


@app.command()
def worker(
    config: ConfigPath = None,
    processes: Processes = 1,
    threads: Threads = 8,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
) -> None:
    """Work through what is due."""
    from sync_worker import metric_server, supervisor
    from sync_worker import worker as process

    exit_on_signal()
    loaded = load(config)
    with metric_server.serving(loaded.data_dir / "metrics", metrics_host, metrics_port):
        if processes > 1:
            code = supervisor.run_workers(processes=processes, threads=threads, config_path=loaded.path)
        else:
            code = process.main(loaded, threads)
    done(code)


@app.command()
def scheduler(
    config: ConfigPath = None, metrics_port: MetricsPort = None, metrics_host: MetricsHost = "127.0.0.1"
) -> None:
    """Rings for what is due, polls feeds, sweeps."""
    from sync_worker import metric_server
    from sync_worker import scheduler as process

    exit_on_signal()
    loaded = load(config)
    with metric_server.serving(loaded.data_dir / "metrics", metrics_host, metrics_port):
        code = process.main(loaded)
    done(code)


@app.command()
def migrate(
    config: ConfigPath = None,
    to: Annotated[str | None, typer.Option("--to", help="a revision, to go back before an older version")] = None,
) -> None:
    """Bring the database to this version's tables."""
    from sync_worker.store import migrate as migrations

    url = load(config).database.url
    if to is None:
        migrations.upgrade(url)
        print("database is up to date")
    else:
        migrations.go_to(url, to)
        print(f"database is at revision {to}")


@app.command()
def doctor(config: ConfigPath = None, json: Json = False) -> None:
    """Check config, database, queue and every system's credentials and permissions."""
    from sync_worker import doctor as checks

    results = checks.run(load(config))
    records.checks(Printer(json), results)
    done(0 if all(r.ok for r in results) else 1)


@app.command()
def emulate(
    name: Annotated[str, typer.Argument(help=" or ".join(EMULATORS))],
    port: Port,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    config: ConfigPath = None,  # noqa: ARG001  # every command takes it; this one needs none
) -> None:
    """Run a vendor emulator on 127.0.0.1."""
    if name not in EMULATORS:
        raise typer.BadParameter(f"no emulator for {name}; there are: {', '.join(EMULATORS)}")
    from sync_worker.connectors.emulation import serve

    end_with_parent()
    make: Callable[..., Any] = importlib.import_module(EMULATORS[name]).make
    serve(make(seed=seed), listen("127.0.0.1", port, "--port"))
