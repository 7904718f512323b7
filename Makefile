# `make help` lists the targets. `make demo` needs nothing but this file; the other targets are for contributors.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# More arguments for the program that a target runs.
ARGS ?=
# One process per core; the tests of the real Kafka share one process and so one broker. `ARGS="-n 0"` runs without.
PYTEST := pytest -n auto --dist loadgroup
SEEDS ?= 1000

.PHONY: help demo check test coverage lint format generate screenshot simulate chaos bench audit lock clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/demo.stamp ## run a shop, Kafka, Redis and a worker on this machine, until Ctrl-C
	@$(BIN)/upsell-stream demo $(ARGS)

check: lint ## run lint, types and the fast tests, as before each commit
	@$(BIN)/$(PYTEST) --fast -q $(ARGS)

test: $(VENV)/dev.stamp ## run all tests on all cores; ARGS="tests/core -q" selects some
	@$(BIN)/$(PYTEST) $(ARGS)

coverage: $(VENV)/dev.stamp ## run all tests and report the branch coverage of stream/
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m $(PYTEST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(VENV)/dev.stamp ## run ruff, mypy and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -m deploy.generate.rules -m deploy.generate.dashboards -m deploy.generate.chart -m deploy.generate.sbom
	$(BIN)/mypy deploy/kubernetes/upsell-stream/answers.py
	$(BIN)/mypy -m docs.generate.__main__
	MYPYPATH=tests $(BIN)/mypy docs/generate/screenshot.py
	$(BIN)/mypy bench/pager/pager.py
	$(BIN)/mypy bench/explain/explain.py
	MYPYPATH=tests $(BIN)/mypy -m bench.__main__
	$(BIN)/mypy locks/audit.py
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## format the code, and sort its imports
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format .

generate: $(VENV)/dev.stamp ## write all generated files: rules, dashboards, schemas, tables in pages, the settings in the chart
	@$(BIN)/python -m deploy.generate.rules
	@$(BIN)/python -m deploy.generate.dashboards
	@$(BIN)/python -m deploy.generate.chart
	@$(BIN)/python -m docs.generate

screenshot: $(VENV)/dev.stamp ## take the picture of the live page in docs/images (needs chromium and chromedriver)
	@PYTHONPATH=tests $(BIN)/python docs/generate/screenshot.py

simulate: $(VENV)/dev.stamp ## run whole workers with faults in virtual time; SEEDS=10000, or SEED=17 for one with its trace
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

chaos: $(VENV)/dev.stamp ## run three workers on real Kafka and Redis with fifty faults
	@PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

bench: $(VENV)/dev.stamp ## measure, in twenty minutes on an idle machine; ARGS=--help lists the options
	@$(BIN)/python -m bench $(ARGS)

audit: $(VENV)/dev.stamp ## check the locks: hashes, licences, withdrawn releases, known vulnerabilities
	@$(BIN)/python locks/audit.py

# No index address is written, so that the locks work with any mirror.
LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock: ## resolve the dependencies again (needs uv)
	$(LOCK) locks/build.in -o locks/build.txt
	$(LOCK) pyproject.toml -o locks/core.txt
	$(LOCK) pyproject.toml locks/build.in --extra demo -o locks/demo.txt
	$(LOCK) pyproject.toml locks/build.in --extra dev -o locks/dev.txt

clean: ## delete the virtual environment and everything that was built
	rm -rf $(VENV) dist build htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

# Installs every package of the lock, checked by its hash. The stamp is touched only after success.
$(VENV)/%.stamp: locks/%.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "upsell-stream needs Python 3.11 or later: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing locks/$*.txt into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/$*.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
