# Two commands for a newcomer: `make demo` and `make test`. Each installs what it needs into .venv, once.

PYTHON ?= python3
WORKSPACE ?= workspace
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
TESTS ?= tests

.PHONY: install demo test test-services test-gpu lint format benchmark chaos clean

install: .venv/.installed

demo: .venv/.installed
	@if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then study=demo; corpus=prompts; else \
	  echo "apt-get is missing, so the real speech of corpus prompts cannot be fetched;"; \
	  echo "the demo falls back to corpus espeak, which is synthetic: its scores say little about human speech."; \
	  study=demo_espeak; corpus=espeak; fi; \
	set -e; \
	$(BIN)/lidstudy corpus prepare $$corpus --workspace $(WORKSPACE); \
	$(BIN)/lidstudy sweep $$study --workspace $(WORKSPACE) --slots 2; \
	$(BIN)/lidstudy report $$study --workspace $(WORKSPACE); \
	echo; \
	echo "Open the report in a browser. Browse the runs in the MLflow UI:"; \
	echo "    $(BIN)/lidstudy ui --workspace $(WORKSPACE)"

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 $(TESTS)

test-services: .venv/.installed-services
	$(BIN)/python -m pytest -m services $(TESTS)

test-gpu: .venv/.installed-dev
	$(BIN)/python -m pytest -m gpu $(TESTS)

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: .venv/.installed-benchmark
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.scale_optuna
	$(BIN)/python -m benchmarks.scale_mlflow

chaos: .venv/.installed-dev
	$(BIN)/python -m tests.faults.chaos

clean:
	rm -rf .venv build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing into .venv (a few minutes, once)…"
	@$(PIP_INSTALL) '.[synth,cma]'
	@touch $@

.venv/.installed-dev: .venv/.installed
	@$(PIP_INSTALL) '.[synth,cma,slurm,postgres,dev]'
	@touch $@

.venv/.installed-benchmark: .venv/.installed
	@$(PIP_INSTALL) '.[synth,cma,benchmark]'
	@touch $@

.venv/.installed-services: .venv/.installed-dev
	@$(PIP_INSTALL) '.[synth,cma,dev,services,postgres,ray,slurm]'
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }
	@command -v pdflatex >/dev/null && kpsewhich booktabs.sty >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends texlive-latex-base texlive-latex-recommended >/dev/null; }
	@command -v slurmctld >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null; }
	@touch $@
