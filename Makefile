# `make demo` and `make test` do everything from a bare checkout: virtual environment,
# pinned dependencies, then the work. A second run reuses what is there.

PYTHON ?= python3
PYTEST_ARGS ?=
FUZZ_ARGS ?=
LOCK_ARGS ?=
INSTALL_ARGS ?=
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-text test test-slow chaos fuzz check-install lint format tiny-model bench \
	lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand -t 14

setup: ## create or update .venv
	@$(PYTHON) tools/setup_env.py

demo: setup ## caption sample clips from a local S3 gateway, output in out/demo
	$(PY) -m tinyworld.demo

demo-text: setup ## a real language model of 135M fuses captions into English, output in out/demo-text
	$(PY) -m tinyworld.demo_text

test: setup ## run the test suite (PYTEST_ARGS="-k words" for a part)
	$(PY) -m pytest -n 2 $(PYTEST_ARGS)

test-slow: setup ## kills, nights, long videos, clusters, models: about an hour and a half
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

chaos: setup ## runs whose processes and storage are made to fail (CHAOS_SEED=N CHAOS_ROUNDS=1)
	$(PY) -m pytest -m slow -s tests/chaos $(PYTEST_ARGS)

fuzz: setup ## 10,000 damaged files through the decoding process (FUZZ_ARGS="--files 1 --seed N")
	$(PY) -m tests.fuzz $(FUZZ_ARGS)

check-install: ## install a head node with every Python here (INSTALL_ARGS=--tests: and unit tests)
	$(PYTHON) tools/check_install.py $(INSTALL_ARGS)

lint: setup ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup ## let ruff mend what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

tiny-model: setup ## train the embedded model and measure it (102 minutes on each of two cores)
	$(PY) -m tinyworld.train
	$(PY) -m tinyworld.measure

bench: setup ## job against the speed of light and against a sequential script
	$(PY) -m benchmarks.speed_of_light

lock: ## resolve pyproject.toml into constraints.txt (LOCK_ARGS=--upgrade: the newest of everything)
	$(PYTHON) tools/lock.py $(LOCK_ARGS)

clean: ## remove output and caches, keep .venv
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -type d -exec rm -rf {} +
