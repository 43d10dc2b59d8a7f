# Every entry point of the project. CI runs these targets and nothing else; `make help` lists them.

PYTHON ?=
UV_VERSION := 0.13.9
EXPERIMENT ?= experiments/demo.toml
ARGS ?=
KEEP ?=

# Two profiles, an environment each: PROFILE=gpu works in .venv-gpu, where every target can run. gpu-check takes it by
# itself where there is a driver.
ifneq ($(filter gpu-check,$(MAKECMDGOALS)),)
PROFILE ?= $(if $(wildcard /proc/driver/nvidia/version .venv-gpu),gpu,cpu)
endif
PROFILE ?= cpu
VENV := $(or $(VENV),$(if $(filter gpu,$(PROFILE)),.venv-gpu,.venv))
BIN := $(VENV)/bin
UV := $(BIN)/uv
STAMP := $(VENV)/.stamp$(if $(filter gpu,$(PROFILE)),-gpu)
export UV_SYSTEM_CERTS ?= 1
ifeq ($(PROFILE),cpu)
PYTHONS := 3.11
ALIAS := ./requirements/vllm-alias
LOCKED := pyproject.toml requirements/cpu.lock requirements/vllm-alias/pyproject.toml
else ifeq ($(PROFILE),gpu)
PYTHONS := 3.11 3.12
ALIAS :=
LOCKED := pyproject.toml requirements/gpu.lock
else
$(error PROFILE=$(PROFILE) is no profile; it is cpu or gpu)
endif

# The CPU build of torch is not on PyPI. A folder or page of wheels named by the environment (uv's variable, pip's, or
# pip's configuration) wins; without one uv takes it from PyTorch's own CPU index. pip separates entries by blanks,
# uv by commas. UV_SYSTEM_CERTS: trust what the machine trusts, as pip does.
define find_torch
links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}}"; \
links="$$(printf '%s' "$$links" | tr -s '[:space:]' ',')"; links="$${links#,}"; links="$${links%,}"; \
if [ -n "$$links" ]; then export UV_FIND_LINKS="$$links"; else unset UV_FIND_LINKS; backend='--torch-backend cpu'; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup lint format test test-unit test-unit-rest coverage test-ray test-e2e test-chaos browser prometheus chaos gpu-check demo demo-small bench figures docs lock clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv from the CPU lock, or with PROFILE=gpu .venv-gpu from the GPU lock (9 GB); again only after a change

$(STAMP): $(LOCKED) | $(BIN)/python
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "the locks hold wheels for Linux x86_64 only; this is $$(uname -sm)" >&2; exit 1; }
	@scripts/claim_environment.sh "$(VENV)" "$(PROFILE)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(if $(filter cpu,$(PROFILE)),$(find_torch),unset UV_FIND_LINKS PIP_FIND_LINKS; backend=); set -x; \
	  $(UV) pip install --python $(BIN)/python --no-deps --require-hashes $$backend -r requirements/$(PROFILE).lock
	$(UV) pip install --python $(BIN)/python --no-deps $(ALIAS) -e .
	@# Byte code cuts an import of verl to a third; some environments forbid writing it later. A few files of the
	@# packages are templates that do not compile: that is no failure.
	$(BIN)/python -m compileall -q -j 0 $(BIN)/../lib/python3.*/site-packages > $(VENV)/compileall.log 2>&1 || true
	@touch $@

lint: setup ## ruff, mypy --strict, import contracts, declared dependencies, and the locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry platform
	$(BIN)/python scripts/check_locks.py

format: setup ## rewrite the code in the format of this repository
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test: test-unit test-ray test-e2e test-chaos ## every test: unit, real Ray and vLLM, end to end, a sweep under kill -9

CORE_TESTS := $(addprefix tests/unit/,codes test_answers.py scoring rewards cli/test_codes.py cli/test_score.py)

test-unit: setup ## tests without Ray or network, a minute or two
	$(BIN)/python -m pytest tests/unit

test-unit-rest: setup ## the unit tests that `make coverage` does not run; CI runs both
	$(BIN)/python -m pytest tests/unit $(addprefix --ignore=,$(CORE_TESTS))

coverage: setup ## branch coverage of the domain core (codes, answers, scoring, rewards), which must be whole
	$(BIN)/python -m pytest $(CORE_TESTS) \
	  $(addprefix --cov=deepicd.,codes answers scoring rewards) --cov-branch --cov-fail-under=100 \
	  --cov-report=term-missing:skip-covered

test-ray: setup ## tests on a local Ray cluster with real verl and vLLM
	$(BIN)/python -m pytest tests/ray

test-e2e: setup ## whole ways through the system
	$(BIN)/python -m pytest tests/e2e

test-chaos: setup ## a sweep of four trials under kill -9, one of each kind
	$(BIN)/python -m pytest tests/chaos

chaos: setup ## the same with twelve trials and more kills, about a quarter of an hour; not part of `make test`
	DEEPICD_CHAOS=large $(BIN)/python -m pytest -s tests/chaos

APT := -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20

browser: ## Debian's chromium, in which a test opens the sweep report; only as root with apt, and never fails
	@command -v chromedriver > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get update -qq $(APT) \
	  && apt-get install -y -qq $(APT) --no-install-recommends chromium chromium-driver; } > /dev/null 2>&1 \
	  || echo "no chromium was installed; the test that opens the sweep report will be skipped"

prometheus: setup ## Debian's prometheus and promtool in the environment, unpacked and not installed; never fails
	@test -x $(BIN)/promtool || { place=$$(mktemp -d) && ( cd $$place && apt-get download -qq $(APT) prometheus \
	  && dpkg -x prometheus_*.deb . ) && cp $$place/usr/bin/prometheus $$place/usr/bin/promtool $(BIN)/ && rm -rf $$place; } \
	  > /dev/null 2>&1 || echo "no prometheus was fetched; the tests of its rules will be skipped"

gpu-check: setup ## the first ten minutes on a GPU, with a table to paste into an issue; without CUDA all of it is skipped
	$(BIN)/python -m pytest tests/gpu

demo: setup ## the whole loop on this machine, 15 to 30 minutes on 2 cores (KEEP=1 leaves the endpoint up)
	$(BIN)/deepicd run $(EXPERIMENT) $(if $(KEEP),--keep) $(ARGS)

demo-small: setup ## the same in some minutes (experiments/tiny.toml): too short to learn much
	$(BIN)/deepicd run experiments/tiny.toml $(ARGS)

docs: setup ## the docs as a site in build/docs; a broken link fails
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/docs

figures: setup ## how large, plain and well tested the code is, in figures
	@$(BIN)/python scripts/figures.py

bench: setup ## start-up and throughput of the light packages, as JSON
	for file in tests/bench*.py; do $(BIN)/python "$$file" || exit 1; done

lock: $(BIN)/uv ## resolve both locks anew
	@$(find_torch); set -x; \
	  $(UV) pip compile pyproject.toml --extra cpu --extra dev --overrides requirements/cpu-overrides.txt $$backend \
	    $(COMPILE) -o requirements/cpu.lock
	env -u UV_FIND_LINKS $(UV) pip compile pyproject.toml --extra gpu --extra dev \
	  --overrides requirements/gpu-overrides.txt $(COMPILE) -o requirements/gpu.lock

COMPILE := --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate \
	--no-emit-find-links --no-emit-index-url --custom-compile-command "make lock"

# PYTHON=… names the interpreter; without it one is looked for.
$(BIN)/python:
	@found="$$(scripts/find_python.sh "$(PYTHON)" "$(PYTHONS)")" && set -x && "$$found" -m venv $(VENV) || { rm -f $@; exit 1; }

$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean: ## remove caches and results of tools, keep environments and runs/
	rm -rf build dist docs/reference .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find platform tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove the profile's environment
	rm -rf $(VENV)
