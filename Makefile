# make quickstart   install, then train, distil, export and measure on real images (about 8 minutes on 2 cores)
# make test         install with the development tools, then run the tests: of each series of the zoo its smallest network
# make test-zoo     the tests of every network of the zoo (SHARD=2/4: the second quarter of them)
# make test-smoke  the recipe of every method and of every kind of network, each as a smoke run
# make test-bits    train the quickstart and a part of Fashion-MNIST, and compare the bits of their weights with recorded ones
# make campaign     harm on purpose, up to an hour: kills, damaged files, wrong inputs, a system that fails (resumes)
# make check        style, types and the import table
# make bench        measure this project against its peers (PEER=<checkout of PaddleClas>: against it too)
# make docs         write docs/zoo.md, its figures and tables, docs/methods.md, docs/figures/, experiments/REPORT.md
#                   and docs/what_moves_ssld.md anew
#
# PYTHON=python3.12   interpreter for a new environment (default: the first of 3.10-3.12 found)
# VENV=.venv          where the environment lives
# JOBS=2              test processes that run side by side (test-zoo: 1; the largest network alone takes 11 GB)
# DEVICE=gpu          install Paddle for a GPU: needs PADDLE_INDEX=<address of Paddle's own package index for your CUDA>

VENV ?= .venv
DEVICE ?= cpu
PADDLE_INDEX ?=
PYTHON ?=
SHARD ?= 1/1
JOBS ?= 2
# In the order of the files: the slow ones come first, and the last ones are so short that no process waits for another.
PYTEST = $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup --no-loadscope-reorder
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml ssld/__init__.py
INDEX_gpu := $(if $(PADDLE_INDEX),--extra-index-url $(PADDLE_INDEX))
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))

BENCHMARKS := convolution engines mine_duplicates mine_scale overlap  # those without a peer

.PHONY: quickstart test test-zoo test-smoke test-bits check bench docs campaign
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed-$(DEVICE)
	$(BIN)/ssld run recipes/quickstart.yaml

test: $(VENV)/.installed-$(DEVICE)-dev
	$(PYTEST) -m "not zoo and not bits and not smoke"

test-smoke: $(VENV)/.installed-$(DEVICE)-dev
	$(PYTEST) -m smoke

campaign: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m tests.campaign.campaign $(if $(ONLY),--only "$(ONLY)")

test-bits: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m pytest tests/e2e/test_bits.py

test-zoo: JOBS = 1
test-zoo: $(VENV)/.installed-$(DEVICE)-dev
	$(PYTEST) tests/parity tests/unit/test_weights_import.py tests/unit/test_taps.py tests/e2e/test_smoke.py --shard $(SHARD) --timeout 900

check: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_imports.py

bench: $(VENV)/.installed-$(DEVICE)-dev
	@set -e; for script in $(BENCHMARKS); do \
	    echo "== $$script"; $(BIN)/python benchmarks/$$script.py; done
	@set -e; for script in distill_step data_pipeline $(if $(PEER),zoo_forward); do \
	    echo "== $$script"; $(BIN)/python benchmarks/$$script.py $(if $(PEER),--peer "$(PEER)"); done

docs: $(VENV)/.installed-$(DEVICE)
	$(BIN)/python -m ssld.report.zoo docs
	$(BIN)/python -m ssld.report.methods docs
	$(BIN)/ssld report figures --out docs/figures
	$(BIN)/ssld report ledger
	$(BIN)/ssld report ablation

# An installation is repeated when what it depends on has changed; edits of the code need none (it is editable).
$(VENV)/.installed-$(DEVICE): $(SOURCES) | $(BIN)/pip
	$(BIN)/python -m pip install $(INDEX_$(DEVICE)) --editable ".[$(DEVICE),engines]"
	@touch $@

$(VENV)/.installed-$(DEVICE)-dev: $(SOURCES) | $(BIN)/pip
	$(BIN)/python -m pip install $(INDEX_$(DEVICE)) --editable ".[$(DEVICE),engines,int8,mine,dev]"
	@# Both OpenCV packages fill one folder; the one of `int8` needs the libraries of a desktop, so the other comes last.
	$(BIN)/python -m pip install --force-reinstall --no-deps "opencv-python-headless==4.6.0.66"
	@touch $@ $(VENV)/.installed-$(DEVICE)

$(BIN)/pip:
	@for python in $(or $(PYTHON),python3 python3.12 python3.11 python3.10); do \
	    if $$python -c '$(SUPPORTED)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "ssld needs Python 3.10, 3.11 or 3.12, but $(or $(PYTHON),python3) is" \
	        "$$($(or $(PYTHON),python3) --version 2>&1 | head -n 1);" \
	        "name one that fits: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$found --version)"; \
	$$found -m venv "$(VENV)" || { \
	    echo "cannot create $(VENV) with $$found; on Debian and Ubuntu first: apt install python3-venv" >&2; exit 1; }
