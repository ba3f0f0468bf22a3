"""Whether alerts reach anybody."""

from __future__ import annotations

import typer

from sync_worker.cli.shared import ConfigPath, app, done, load

group = typer.Typer(help="Mail and webhook about what waits too long.", no_args_is_help=True)
app.add_typer(group, name="alerts")


@group.command()
def test(config: ConfigPath = None) -> None:
    """Send one message, marked as a test, to everybody the configuration names."""
    from sync_worker.alerts.turn import try_out

    results = try_out(load(config))
    for target, problem in results:
        print(f"{target}: {problem or 'sent'}")
    done(0 if results and all(problem is None for _, problem in results) else 1)
