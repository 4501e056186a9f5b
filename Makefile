# Two commands, each enough on a fresh machine with Python 3.11 or newer:
#   make demo   edit the embedded model and look at what changed
#   make test   lint, types, tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test

demo: .venv/installed
	rm -rf out/refusal_k2
	$(BIN)/surgery apply recipes/refusal_k2.yaml

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy surgery trainer
	$(BIN)/pytest -n auto

.venv/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[trainer,test]'
	touch $@
