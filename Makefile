# Everything needs only Python 3.11 or 3.12 and make; the virtual environment is made in .venv,
# once, and again when the requirements change. Another Python: make test PYTHON=/path/to/python

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
QUICK := runs/quickstart

.DEFAULT_GOAL := help
.PHONY: help quickstart test slow lint format bench clean

help:  ## Shows this
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' Makefile | column -t -s '|'

quickstart: $(VENV)/installed  ## Teacher, student and export on made-up images, in minutes
	@echo "Quick start: clears $(QUICK), then pretrains, distils and exports."
	@rm -rf $(QUICK)
	$(BIN)/python main.py pretrain --flagfile=flags/quickstart/pretrain.flags \
		--workdir=$(QUICK)/teacher
	$(BIN)/python main.py distill --flagfile=flags/quickstart/distill.flags \
		--teacher_checkpoint=$(QUICK)/teacher/teacher --workdir=$(QUICK)/student
	$(BIN)/python main.py export --workdir=$(QUICK)/student --format=saved_model \
		--out=$(QUICK)/saved_model
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -c 'import tensorflow as tf; \
		student = tf.saved_model.load("$(QUICK)/saved_model").signatures["serving_default"]; \
		maps = student(images=tf.zeros((1, 96, 96, 3), tf.uint8)); \
		print("Loaded again:", {name: tuple(maps[name].shape) for name in sorted(maps)})'
	@cat flags/quickstart/done.txt

test: $(VENV)/installed-dev  ## Runs the default tests
	$(BIN)/python -m pytest

slow: $(VENV)/installed-dev  ## Runs the tests that the default leaves out
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-dev  ## Checks format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/installed-dev  ## Formats, and mends what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/installed  ## Runs the benchmarks, each prints a table
	@set -e; for file in benchmarks/[a-z]*.py; do echo "$$file"; $(BIN)/python $$file; done

clean:  ## Removes the virtual environment and caches, no runs
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(if $(PYTHON),$(PYTHON),false) -c '$(SUPPORTED)' || { \
		echo "Expected Python 3.11 or 3.12. Found: $(or $(PYTHON),none)." \
		"Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing requirements.txt into $(VENV): a few minutes, once."
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@
