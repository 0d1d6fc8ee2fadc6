# Every target does its own set-up in .venv; only Python 3.11 or newer and make are needed (and Go for `kubernetes`).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILE := $(BIN)/uv pip compile --quiet --constraint constraints.txt --universal --python-version 3.11 \
  --generate-hashes --no-header --no-annotate

.PHONY: help venv demo test e2e chaos kubernetes lint format bench-quick protos chart locks clean

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(STAMP) ## The environment with everything, in .venv

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP) ## A simulated cluster with the real extender and device plugins, for a minute
	$(BIN)/python -m bench demo $(ARGS)

test: $(STAMP) ## All tests that need no Kubernetes binaries
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m 'not e2e and not chaos' $(ARGS)

kubernetes: ## Build the real Kubernetes, Helm and promtool for the end-to-end tests (needs Go; minutes, once)
	tests/e2e/kubernetes/build.sh
	tests/manifests/programs/build.sh

e2e: $(STAMP) ## The scenarios on the real Kubernetes binaries
	$(BIN)/python -m pytest -q -m e2e $(ARGS)

chaos: $(STAMP) ## Every fault around the extender on simulated clusters, and a table of what happens (an hour)
	$(BIN)/python -m tests.chaos --seed 1 --seed 2 --seed 3 --repeats 3 $(ARGS)

lint: $(STAMP) ## Style, types and the contracts between layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Bring the sources into the project's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-quick: $(STAMP) ## The benchmarks that check ratios, small
	$(BIN)/python -m bench latency --nodes 1000 --cycles 300 --max-ratio 1.2
	$(BIN)/python -m bench latency --nodes 1000 --pods-per-node 10 --pod-bytes 8000 --case start --max-rss-mib 125
	$(BIN)/python -m bench latency --case growth --cycles 100 --max-growth 2

chart: $(STAMP) ## The Helm chart's templates, from the kustomizations (needs kubectl)
	$(BIN)/python -m manifests.charting $(ARGS)

locks: $(STAMP) ## The locks of the images, from pyproject.toml and constraints.txt
	for extra in extender device-plugin; do \
	  $(COMPILE) pyproject.toml --extra $$extra --output-file manifests/images/$$extra.lock || exit 1; \
	done
	echo hatchling | $(COMPILE) - --output-file manifests/images/build.lock

clean: ## Remove what the other targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
