# `make demo` needs only Python 3.11 or newer, `make test` a C compiler, too: all else is installed into .venv.
# Stamps in .venv make every later run quick.

PYTHON ?= python3
BIN := .venv/bin
PIP := python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
JOBS ?= 2
# Two test processes on two cores: one thread each, or they fight.
export OMP_NUM_THREADS ?= 1

.PHONY: demo docs test lint types unit bench fidelity install clean vsix vscode-test
.DEFAULT_GOAL := test

# torch first and alone, as constraints.txt pins it: resolved together with the rest, pip may pull a CUDA build,
# a second and much larger download.
.venv/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "arec needs Python 3.11 or newer; \
	set PYTHON=/path/to/python3.11" or 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP) torch
	@touch $@

.venv/arec.stamp: .venv/torch.stamp pyproject.toml runtime/pyproject.toml
	$(BIN)/$(PIP) --editable ./runtime --editable .
	@touch $@

# What lint, types and tests need beside it: tools, and every extra that runs on a CPU. The tests of Spark take Java
# 17 as well: without, they are skipped. TorchRec asks for the CUDA build of fbgemm and for an old torchmetrics, so what
# it needs is named here.
.venv/dev.stamp: .venv/arec.stamp
	$(BIN)/$(PIP) --editable ./runtime --editable \
		'.[dev,docs,lightning,lsp,mlflow,notebook,onnx,retrieval,serve,spark,sweep,tensorboard,wandb]'
	$(BIN)/$(PIP) cloudpickle pyre-extensions 'pyvers<0.3' tqdm
	$(BIN)/$(PIP) --no-deps tensordict torchrec fbgemm-gpu-cpu \
		|| echo "TorchRec has no wheels for this machine: what tests it is skipped"
	@touch $@

install: .venv/arec.stamp

demo: install
	$(BIN)/specc demo

# The site, without network: docs/, the README, the diagnostics' pages and the specs.
docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "build/site is written; to read and search it: python -m http.server --bind 127.0.0.1 --directory build/site"

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

unit: .venv/dev.stamp
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --durations 15

test: lint types unit

# What the compiled models are timed against. torch first, as above; the rest must not bring another. A library
# that can't be had is named in the results.
.venv-peers/peers.stamp: bench/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/$(PIP) torch
	.venv-peers/bin/$(PIP) --requirement bench/peers.txt
	for peer in deepctr-torch==0.3.0 fuxictr==2.3.10 torch-rechub==0.9.0 recbole==1.2.1; do \
		.venv-peers/bin/$(PIP) --no-deps $$peer || true; done
	@touch $@

.venv/bench.stamp: .venv/arec.stamp
	$(BIN)/$(PIP) --editable ./runtime --editable '.[bench]'
	@touch $@

# Turns of each contender; 1 shows in some minutes that all runs. What was measured of the same code is kept.
ROUNDS ?= 9
# Cells of other sizes are begun for so long; the next run goes on with the rest.
MINUTES ?= 60

bench: .venv/bench.stamp .venv-peers/peers.stamp
	$(BIN)/python -m bench.models --peers .venv-peers/bin/python --rounds $(ROUNDS)
	$(BIN)/python -m bench.tables --peers .venv-peers/bin/python --rounds $(ROUNDS)
	$(BIN)/python -m bench.passes --rounds $(ROUNDS)
	-$(BIN)/python -m bench.cells --peers .venv-peers/bin/python --minutes $(MINUTES)  # as above
	$(BIN)/python -m bench.compile_time
	$(BIN)/python -m bench.serve --peers .venv-peers/bin/python
	-$(BIN)/python -m bench.torch_compile --turns $(ROUNDS)  # wants a C++ compiler
	$(BIN)/python -m bench.report

# Losses of DIN, DIEN and BST beside FuxiCTR's from the same weights and batches, over 200 steps.
fidelity: .venv/arec.stamp .venv-peers/peers.stamp
	PYTHONPATH=.:runtime .venv-peers/bin/python -m bench.fidelity --double
	PYTHONPATH=.:runtime .venv-peers/bin/python -m bench.fidelity

# The extension for VS Code, and its grammar's test. They need Node.js, and its package registry.
editors/vscode/node_modules: editors/vscode/package.json
	cd editors/vscode && npm install --no-audit --no-fund --silent
	@touch $@

vscode-test: editors/vscode/node_modules
	cd editors/vscode && npm test

vsix: editors/vscode/node_modules
	cd editors/vscode && npm run -s package

clean:
	rm -rf .venv .venv-peers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
