"""``python -m fuzz [VENDOR] [atheris options]``: hostile answers until something other than a SyncError comes out.

Run it through ``make fuzz``. Atheris is no part of the locked packages: few have a use for it, and it is built for few
Python versions. What it finds is printed as an example of the suite's own test, to be added there.
"""

from __future__ import annotations

import logging
import sys

MISSING = (
    "fuzz: atheris is not installed: .venv/bin/python -m pip install atheris; "
    'the suite plays a few examples without it: make test ARGS="-k hostile"'
)


def main() -> int:
    """Fuzz one vendor's connector for a minute, or as long as the options say; exit code 1 without atheris."""
    try:
        import atheris
    except ImportError:
        print(MISSING, file=sys.stderr)
        return 1
    with atheris.instrument_imports(include=["sync_worker", "mappings"]):  # ours, as it is imported for the first time
        import structlog
        from hypothesis import given, settings
        from hypothesis import strategies as st
        from test_hostile_answers import ends_well

        from support.damage import Damage, damages
        from support.hostile import OPERATIONS, VENDORS, Attacked

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    vendor = next((word for word in sys.argv[1:] if word in VENDORS), VENDORS[0])
    options = [word for word in sys.argv[1:] if word not in VENDORS] or ["-max_total_time=60"]
    attacked = Attacked(vendor)

    @settings(deadline=None, database=None)
    @given(name=st.sampled_from(OPERATIONS), damage=damages())
    def test(name: str, damage: list[Damage]) -> None:
        ends_well(attacked, name, damage)

    atheris.Setup([sys.argv[0], *options], test.hypothesis.fuzz_one_input)
    atheris.Fuzz()
    return 0


sys.exit(main())
