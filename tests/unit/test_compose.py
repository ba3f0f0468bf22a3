"""The containers' files cannot be tried here, so they are held against everything they name.

docker-compose.yml against the schema of the compose specification, and with Dockerfile and .env.example against our
commands, settings, routes, files and the time our processes take to stop.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sync_worker.cli import app
from sync_worker.processes import PROCESSES_ENV, STOP_SECONDS

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
EXAMPLE = (ROOT / "sync.example.toml").read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build")}
SERVING = {name: service for name, service in OURS.items() if name != "migrate"}

# What the documentation of the image says it reads.
POSTGRES = {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "POSTGRES_INITDB_ARGS", "PGDATA"}
PYTHON = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"}
# Modules that read the environment, and how they name what they read.
READS = re.compile(r'env(?:iron)?(?:\.get\(|\[)"([A-Z_]+)"|_WINS = \{"([A-Z_]+)".*?, "([A-Z_]+)"|_ENV = "([A-Z_]+)"')
ROUTES = re.compile(r'Route\("(/\w+)"|path == "(/\w+)"')


def ours_read() -> set[str]:
    """Environment variables that our code or the example configuration reads."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "sync_worker").rglob("*.py"))
    named = {name for found in READS.findall(sources) for name in found if name}
    assert {"DATABASE_URL", "REDIS_URL", "SYNC_CONFIG", "SYNC_DATA_DIR", "SYNC_LOG_FORMAT", PROCESSES_ENV} <= named
    return named | set(re.findall(r'= "env:(\w+)"', EXAMPLE))


def env_file() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1, "m": 60}[unit]


def understood(args: list[str]) -> dict[str, Any]:
    """The parameters of a command line of ours. Raises ``click.UsageError`` for one that is none."""
    command = get_command(app).commands[args[0]]  # type: ignore[attr-defined]  # typer's group
    return dict(command.make_context(args[0], list(args[1:])).params)


def instructions(word: str) -> list[str]:
    return [line[len(word) + 1 :] for line in DOCKERFILE.splitlines() if line.startswith(f"{word} ")]


def test_the_compose_file_follows_the_schema_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ops_every_part_is_a_service_of_its_own() -> None:
    assert set(SERVICES) == {"valkey", "postgres", "migrate", "web", "worker", "scheduler"}
    assert set(OURS) == {"migrate", "web", "worker", "scheduler"}
    assert all(service["command"][0] == name for name, service in OURS.items())


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_of_a_service_exists(name: str) -> None:
    params = understood([str(word) for word in OURS[name]["command"]])
    if name == "worker":
        assert OURS[name]["environment"][PROCESSES_ENV] == f"${{{PROCESSES_ENV}:-{params['processes']}}}"
    if name == "web":
        assert params["host"] == "0.0.0.0", "else nobody outside the container reaches it"  # noqa: S104


def test_the_image_runs_a_command_that_exists_as_a_user_without_rights() -> None:
    entry, default = (yaml.safe_load(instructions(word)[-1]) for word in ("ENTRYPOINT", "CMD"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert entry == [next(iter(scripts))]
    assert understood(default)
    assert instructions("USER") == ["worker"]
    assert "useradd --uid 10001 --gid worker" in DOCKERFILE
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_every_variable_of_our_containers_is_a_setting() -> None:
    known = ours_read()
    for name, service in OURS.items():
        assert set(service["environment"]) - known == set(), name
        assert service["env_file"] == [".env"]
    image = {pair.partition("=")[0] for line in instructions("ENV") for pair in shlex.split(line)}
    assert image - known - PYTHON == set()
    assert set(env_file()) - known - POSTGRES == set()
    assert set(SERVICES["postgres"]["environment"]) - POSTGRES == set()


def test_everything_that_is_to_be_filled_in_stands_in_the_example_and_no_secret_is_given() -> None:
    given = env_file()
    text = COMPOSE.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)(?!\w|:-)", text)) - set(given) == set()
    assert set(re.findall(r'= "env:(\w+)"', EXAMPLE)) - set(given) == set()
    assert set(given.values()) == {""}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored


def test_every_file_that_is_copied_or_mounted_exists_and_reaches_the_build() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [words.split()[:-1] for words in instructions("COPY") if not words.startswith("--from")]
    for source in [source for sources in copied for source in sources]:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in allowed), f"{source} is not sent to the build"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= {s for ss in copied for s in ss}
    for service in OURS.values():
        files = [volume for volume in service["volumes"] if volume.startswith("./")]
        assert files == ["./sync.toml:/etc/sync-worker/sync.toml:ro"]
    places = dict(pair.partition("=")[::2] for line in instructions("ENV") for pair in shlex.split(line))
    assert places["SYNC_CONFIG"] == "/etc/sync-worker/sync.toml"
    assert f"data:{places['SYNC_DATA_DIR']}" in SERVICES["worker"]["volumes"]


def test_packages_are_installed_by_hash_only() -> None:
    installs = [part.strip() for part in re.split("&&|RUN", DOCKERFILE) if "pip install" in part or "pip wheel" in part]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
        assert "--no-deps" not in install or "--no-index" in install or "--no-build-isolation" in install, install


def test_whatever_a_service_waits_for_exists_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] in ("no", "on-failure"), f"{other} would never be completed"
    for name in SERVING:
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert SERVICES[name]["depends_on"]["valkey"]["condition"] == "service_healthy"


def test_every_volume_and_network_is_declared_and_only_the_web_process_is_reached_from_outside() -> None:
    for name, service in SERVICES.items():
        named = {volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith("./")}
        assert named <= set(FILE["volumes"]), name
        assert set(service["networks"]) <= set(FILE["networks"]), name
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert FILE["networks"]["store"]["internal"] is True
    assert all(SERVICES[name]["networks"] == ["store"] for name in ("valkey", "postgres"))


@pytest.mark.parametrize("name", SERVING)
def test_health_is_asked_where_the_service_answers(name: str) -> None:
    service = SERVICES[name]
    params = understood([str(word) for word in service["command"]])
    check = service["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]
    compile(check[3], "healthcheck", "exec")
    [port] = re.findall(r"'127\.0\.0\.1', (\d+)", check[3])
    [path] = re.findall(r"'GET', '([^']+)'", check[3])
    assert int(port) == params["port" if name == "web" else "metrics_port"]
    source = ROOT / ("sync_worker/web/app.py" if name == "web" else "sync_worker/metric_server.py")
    routes = {route for found in ROUTES.findall(source.read_text(encoding="utf-8")) for route in found if route}
    assert path in routes
    if name == "web":
        [published] = service["ports"]
        assert published == f"127.0.0.1:{port}:{port}"


@pytest.mark.parametrize("name", SERVING)
def test_a_service_is_given_more_time_to_stop_than_it_takes(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) >= STOP_SECONDS + 5


def test_our_containers_hold_no_rights_and_write_only_where_they_must() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"] is True
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108  # a mount in the container


def test_the_database_is_well_only_when_it_can_be_reached() -> None:
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert check[:4] == ["CMD", "pg_isready", "--host", "127.0.0.1"]
    made = SERVICES["postgres"]["environment"]
    user, name, password = (made[f"POSTGRES_{word}"] for word in ("USER", "DB", "PASSWORD"))
    url = OURS["web"]["environment"]["DATABASE_URL"]
    assert url == f"postgresql+psycopg://{user}:{password}@postgres:5432/{name}"


def test_the_queue_server_keeps_everything_it_is_given() -> None:
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
    }
