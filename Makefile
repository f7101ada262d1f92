# Targets for users: up, down, status. For developers: test, test-pure, test-all, lint, bench, build, clean.
# Everything is installed into .venv; nothing needs root, and nothing outside this folder is changed.

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
CONSTRAINTS ?= requirements-ci.txt

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILED := $(shell sed -n '/^COMPILED = \[/,/^\]/s/.*"\(.*\)".*/\1/p' setup.py)
# Two at a time; what shares processes stays together (tests/conftest.py). `make test WORKERS=0`: one after the other.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up down status build test test-pure test-all sanitize lint bench clean

help:
	@echo "make up          start the default service (or ARGS=kvorum.yaml), Ctrl-C stops it"
	@echo "make status      show the running services        make down   stop them from elsewhere"
	@echo "make test        run the tests, hot modules compiled (make test-all: the slow ones too)"
	@echo "make test-pure   run the tests on plain Python     make lint   ruff and mypy --strict"
	@echo "make sanitize    run the stores' tests with the key table under an address sanitizer"
	@echo "make bench       compare with genuine Valkey       make clean  remove .venv and build results"

up: build
	@$(BIN)/kvorum up $(ARGS)

down status: build
	@$(BIN)/kvorum $@ $(ARGS)

build: $(VENV)/.compiled

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Kvorum needs Python 3.11 or newer, and none was found on PATH." >&2; \
		echo "Install one (Debian: apt install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Kvorum needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "No venv could be made (Debian: apt install python3-venv)." >&2; exit 1; }
	$(PIP) install -q -U "pip>=25.1" "setuptools>=77" wheel
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml $(CONSTRAINTS)
	$(PIP) install -q -c $(CONSTRAINTS) $$($(BIN)/python .ci/requirements.py build runtime)
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(PIP) install -q -c $(CONSTRAINTS) --group test --group lint
	@touch $@

# The compiled modules lie beside their sources; a stale one would hide an edit, so they are all made anew together.
$(VENV)/.compiled: $(VENV)/.installed setup.py $(COMPILED) $(wildcard node/keytable/*.p* node/keytable/*.h)
	@rm -rf build && find . -maxdepth 4 -name '*.so' -not -path './$(VENV)/*' -not -path '*/node_modules/*' -delete
	@echo "building Kvorum; compiling takes a few minutes, once (KVORUM_NO_COMPILE=1 goes without)"
	@PYTHONWARNINGS=ignore $(PIP) install -q --no-build-isolation --no-deps -e .
	@$(BIN)/kvorum info | sed -n '/interpreted engine/p'
	@touch $@

test: build $(VENV)/.tools
	$(PYTEST) $(ARGS)

test-all: build $(VENV)/.tools
	$(PYTEST) --run-slow $(ARGS)

# The same tests on a copy of the tree that has no compiled modules.
test-pure: $(VENV)/.compiled $(VENV)/.tools
	@rm -rf $(VENV)/pure && mkdir -p $(VENV)/pure
	@tar -cf - --exclude='*.so' --exclude=__pycache__ --exclude=node_modules --exclude='./$(VENV)' --exclude=./.git \
		--exclude=./build --exclude=./.kvorum . | tar -xf - -C $(VENV)/pure
	cd $(VENV)/pure && PYTHONPATH="$(CURDIR)/$(VENV)/pure" "$(abspath $(BIN))/python" -m pytest -n $(WORKERS) $(ARGS)

# A copy of the tree with the key table alone compiled: with assertions, every block by itself, for the sanitizers of gcc.
sanitize: $(VENV)/.tools
	@rm -rf $(VENV)/sanitized && mkdir -p $(VENV)/sanitized
	@tar -cf - --exclude='*.so' --exclude=__pycache__ --exclude=node_modules --exclude='./$(VENV)' --exclude=./.git \
		--exclude=./build --exclude=./.kvorum . | tar -xf - -C $(VENV)/sanitized
	cd $(VENV)/sanitized && KVORUM_SANITIZE=1 "$(abspath $(BIN))/python" setup.py -q build_ext --inplace
	cd $(VENV)/sanitized && PYTHONPATH="$(CURDIR)/$(VENV)/sanitized" LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" \
		ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 PYTHONMALLOC=malloc \
		"$(abspath $(BIN))/python" -m pytest -n $(WORKERS) $(or $(ARGS),--run-slow tests/conformance tests/differential \
		tests/unit/test_snapshot.py tests/unit/test_scan.py tests/unit/test_hash.py tests/unit/test_set.py tests/unit/test_zset_type.py)

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: build $(VENV)/.tools
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name '*.so' -not -path '*/node_modules/*' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
