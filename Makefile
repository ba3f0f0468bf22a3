# Python >= 3.11 with its venv module, and make, are all this needs. Nothing is activated: everything runs in .venv.
# PYTHON=/path/to/python chooses the Python that .venv is made with.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run test check bench faults fuzz audit lock force

# Where an installation starts many processes, compiling everything anew in each would cost a third of a second each.
unexport PYTHONDONTWRITEBYTECODE

READY := .venv/.ready
PEERS := .venv/.peers
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# The first Python that will do; or the word "venv" when one would, had it its venv module; or nothing.
find_python = $(shell answer=; \
	for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3 python); do \
		"$$python" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 || continue; \
		if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then answer=$$python; break; fi; \
		answer=$${answer:-venv}; \
	done; echo $$answer)

# .venv is of use when it runs, has pip, and was not set up for another place (scripts and links hold the full path).
usable := $(shell .venv/bin/python -c '$(NEW_ENOUGH)' 2>/dev/null && .venv/bin/python -c 'import pip' 2>/dev/null \
	&& { test ! -e $(READY) || grep -qxF '$(CURDIR)' $(READY); } && echo yes)

help:
	@echo 'make demo    set everything up and play a tour of edits on both sides'
	@echo 'make run     the same without the tour; stays up until Ctrl-C'
	@echo 'make test    the whole test suite (ARGS="-k word" for a part of it)'
	@echo 'make check   format, lint, types, import contracts'
	@echo 'make bench   the benchmark report (ARGS="--only NAME", "--quick", "--profile" for a part of it)'
	@echo 'make faults  real processes under fault injection (ARGS="--postgres", "--seeds 3", "--controls", "--short")'
	@echo 'make fuzz    hostile vendor answers, found by coverage; needs atheris (ARGS="sage_crm -max_total_time=600")'
	@echo 'make audit   known vulnerabilities of the locked versions'

setup: $(READY)

demo: $(READY)
	@.venv/bin/python -m sync_worker.demo

run: $(READY)
	@.venv/bin/python -m sync_worker.demo --stay

# The fast ones first, then those that start whole installations; two at a time, a file of the latter on one side, and
# the longest of these first.
LONG := $(wildcard tests/e2e/test_faults.py tests/e2e/test_two_hosts.py)
OTHERS := $(filter-out $(LONG),$(wildcard tests/e2e/test_*.py))
SOME := $(if $(ARGS),|| test $$? -eq 5)
test: $(READY)
	@.venv/bin/python -m pytest -n 2 --dist worksteal $(wildcard tests/unit tests/contract tests/integration) $(ARGS) $(SOME)
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(LONG) $(OTHERS) $(ARGS) $(SOME)

check: $(READY)
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

bench: $(PEERS)
	@.venv/bin/python -m bench$(if $(ARGS), $(ARGS))

faults: $(READY)
	@PYTHONPATH=tests .venv/bin/python -m faults$(if $(ARGS), $(ARGS))

fuzz: $(READY)
	@PYTHONPATH=tests:tests/unit .venv/bin/python -m fuzz$(if $(ARGS), $(ARGS))

audit: $(READY)
	@PYTHONPATH=tests .venv/bin/python -m audit

# Hashes of every file of every version, for all platforms. The project itself is linked, with what the lock brought.
$(READY): requirements-dev.lock pyproject.toml $(if $(usable),,force)
	$(if $(usable),,$(eval chosen := $(find_python)))
	$(if $(usable)$(chosen),,$(error sync-worker needs Python 3.11 or newer: install it, or name one with PYTHON=/path/to/python))
	$(if $(filter venv,$(chosen)),$(error Python lacks its venv module: install it (Debian and Ubuntu: apt install python3-venv)))
	@echo 'Setting up .venv ...'
	$(if $(usable),,@"$(chosen)" -m venv --clear .venv)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@echo '$(CURDIR)' > $@

# What the benchmark compares us with, and nothing else needs.
$(PEERS): requirements-bench.lock $(READY)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

force:

# Bring both lock files to the newest versions. Needs uv; name no index and no host in them.
UV ?= uv
LOCK := $(UV) pip compile --no-config --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --upgrade --quiet pyproject.toml

lock:
	@$(LOCK) --output-file requirements.lock
	@$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(LOCK) --extra bench --constraint requirements-dev.lock --output-file requirements-bench.lock
