"""``python -m audit``: known vulnerabilities of the locked versions, asked of the package index by pip-audit.

Run it through ``make audit``. pip-audit lives in a virtual environment of its own below ``var``: it audits our packages
and is none of them. What could not be asked about is never taken for clean.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOOL = "pip-audit==2.10.1"
LOCK = "requirements-dev.lock"  # everything of requirements.lock stands in it too, in the same version
HOME = Path("var/audit")
OPTIONS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--desc", "off", "--format", "json")


def verdict(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """What to say of pip-audit's report, and the exit code: 0 only where every package was asked about and is clean."""
    every = report.get("dependencies", [])
    known = [
        f"{one['name']} {one['version']}: {found['id']}, mended in {', '.join(found['fix_versions']) or 'none yet'}"
        for one in every
        for found in one.get("vulns", ())
    ]
    unasked = sum("skip_reason" in one for one in every)
    if unasked == len(every):
        return [f"audit: the package index says nothing of vulnerabilities here: none of {unasked} was checked"], 1
    asked = f"audit: {len(every) - unasked} of {len(every)} packages checked, {len(known)} known vulnerabilities"
    lines = [*known, f"{asked}; the index knows nothing of the others" if unasked else asked]
    return lines, 1 if known or unasked else 0


def main() -> int:
    """Set the tool up where it is not there yet, run it over the lock file, say the verdict."""
    program = HOME / "bin" / "pip-audit"
    if not program.exists() and (problem := _set_up()):
        print(f"audit: {TOOL} cannot be installed here, so nothing was checked: {problem}", file=sys.stderr)
        return 1
    done = subprocess.run([program, *OPTIONS, "-r", LOCK], capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2].partition(":")[0]
        print(f"audit: the package index does not answer, so nothing was checked ({last})", file=sys.stderr)
        return 1
    lines, code = verdict(report)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


def _set_up() -> str:
    """Why it could not be done; "" when it was."""
    venv.create(HOME, with_pip=True, clear=True)
    pip = [HOME / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", TOOL]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else "see what pip says, or give it an index (PIP_INDEX_URL)"


if __name__ == "__main__":
    sys.exit(main())
