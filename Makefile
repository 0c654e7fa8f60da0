# Everything runs in .venv, which the first command makes. On a machine with another Python: make PYTHON=python3.12 test
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup oracles demo test quick families nightly check format bench clean

help:
	@echo "make demo    train a network on handwritten digits, and see what it got right and wrong"
	@echo "make test    run all tests"
	@echo "make quick   run the tests without the end-to-end trainings"
	@echo "make oracles install what results are compared with: torchvision, timm, captum, grad-cam, pycocotools, …; tests that miss them skip"
	@echo "make families  count one model of every timm family (needs make oracles)"
	@echo "make nightly  train for minutes to the accuracy that is claimed"
	@echo "make check   lint, formatting and types"
	@echo "make format  put the code into its form"
	@echo "make bench   time the command line, counting, and training beside six peers (half an hour, 5 GB)"

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch .venv/.ready

# Without what they depend on: that could bring another torch. What they need is named, or there already.
ORACLES := torchvision timm captum grad-cam ttach opencv-python-headless pycocotools pytorch-metric-learning tqdm

oracles: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt $(ORACLES)

demo: setup
	$(BIN)/striate train digits --name demo
	$(BIN)/striate summary runs/demo

# One thread for each of the test processes: they share the cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow and not families and not nightly"

families: oracles
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/conformance -m ""

nightly: oracles
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m nightly

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python -m benchmarks.count
	$(BIN)/python -m benchmarks.train

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
