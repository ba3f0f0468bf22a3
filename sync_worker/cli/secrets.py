"""The key for what is stored encrypted: a new one."""

from __future__ import annotations

import sys

import typer

from sync_worker.cli.shared import ConfigPath, app, done, load

group = typer.Typer(no_args_is_help=True, help="The key for what is stored encrypted: rotate it.")
app.add_typer(group, name="secrets")


@group.callback()
def secrets() -> None:
    """A group, although it has one command."""


@group.command()
def rotate(config: ConfigPath = None) -> None:
    """Encrypt everything stored with a new key; where the configuration gives the key, show a new one first."""
    from sync_worker import desk
    from sync_worker.config import key_file
    from sync_worker.desk import rotating

    found = load(config)
    if found.secrets.key is None:
        place, end = str(found.key_path), "running processes take it by themselves; renew your copy of that file"
    else:
        place = found.key_variable or "[secrets] key in sync.toml"
        end = f"now leave only the first key in {place}, and restart every process"
        if len(found.secret_keys()) == 1:
            print(key_file.new_key())
            print(
                f"nothing is rotated yet: put this new key and a comma in front of what {place} holds now, restart "
                "every process with it, then run this command again",
                file=sys.stderr,
            )
            done(1)
    with desk.opened(found) as worker_app:
        result = rotating.rotate(worker_app)
    print(f"{result.renewed} stored secrets encrypted anew, {result.current} were already; the new key is in {place}")
    if result.lost:
        print(f"{result.lost} were encrypted with a key that is gone and stay as they are; tokens are minted anew")
    print(f"{end}; backups made before need the old key")
