# Two commands of the README: `make demo` and `make test`. Everything else is for contributors.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SEEDS ?= 1000

.PHONY: demo test chaos simulate lint screenshot bench audit lock clean

demo: $(VENV)/demo.stamp
	@$(BIN)/upsell-stream demo $(ARGS)

test: $(VENV)/dev.stamp
	@$(BIN)/pytest $(ARGS)

# Seeds of the deterministic simulation, docs/explanation/simulation.md; `SEED=17` is one alone, with its trace.
simulate: $(VENV)/dev.stamp
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

# Real Kafka and Redis, three workers, fifty faults: see docs/explanation/chaos.md.
chaos: $(VENV)/dev.stamp
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -m deploy.generate.rules -m deploy.generate.dashboards -m deploy.generate.sbom
	$(BIN)/mypy -m docs.generate.__main__
	$(BIN)/mypy bench/pager/pager.py
	MYPYPATH=tests $(BIN)/mypy -m bench.__main__
	$(BIN)/mypy locks/audit.py
	$(BIN)/lint-imports

# The picture of the live page: a minute, and needs Chromium.
screenshot: $(VENV)/dev.stamp
	@PYTHONPATH=tests $(BIN)/python docs/generate/screenshot.py

# Measurements: minutes, on an idle machine. `make bench ARGS=--help`.
bench: $(VENV)/dev.stamp
	@$(BIN)/python -m bench $(ARGS)

# A lock is installed whole and by hash; the stamp is newer than the lock once that has worked.
$(VENV)/%.stamp: locks/%.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "upsell-stream needs Python 3.11 or later: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing locks/$*.txt into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/$*.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

audit: $(VENV)/dev.stamp
	@$(BIN)/python locks/audit.py

# Needs uv on the PATH. No index address is written, so the locks serve any mirror.
LOCK = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock:
	$(LOCK) locks/build.in -o locks/build.txt
	$(LOCK) pyproject.toml -o locks/core.txt
	$(LOCK) pyproject.toml locks/build.in --extra demo -o locks/demo.txt
	$(LOCK) pyproject.toml locks/build.in --extra dev -o locks/dev.txt

clean:
	rm -rf $(VENV) dist build *.egg-info
