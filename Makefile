# Two commands: `make demo` runs a whole study, `make test` passes the tests. Both install what they need into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
OUT    ?= demo-study

# Where this variable is set, each of the hundreds of processes that tests start would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all chaos audit lint types format lock docs site dist release-check install-check test-python clean

help:
	@echo "make demo     run a whole replication study on embedded data (OUT=$(OUT))"
	@echo "make test     install everything and run the tests"
	@echo "make test-all also the tests that take minutes"
	@echo "make chaos    every fault at every stage, again and again"
	@echo "make audit    compare the locked packages with the known vulnerabilities"
	@echo "make lint     style, types and import rules"
	@echo "make format   format the code"
	@echo "make docs     write the generated pages of docs/"
	@echo "make site     build the documentation into build/site"
	@echo "make dist     build wheel and sdist into dist/"
	@echo "make release-check  build both, install the wheel into a clean environment and run the demo there"
	@echo "make install-check  the same, that step alone (what CI does)"
	@echo "make test-python PYTHON=python3.12  the core tests with another Python, in an environment of its own"
	@echo "make lock     renew requirements/*.txt from pyproject.toml (needs uv)"

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "retest needs Python 3.11 or newer; set PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) || { echo "Cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.base: $(VENV)/.created requirements/base.txt pyproject.toml
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) install -r requirements/base.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

# pip holds all that one call downloads until all of it is unpacked: the CUDA libraries that PyPI's torch wants come first and alone, so that
# 2 GB less are needed at the peak. Modules are compiled when they are first imported, most of them never: a minute less.
$(VENV)/.test: $(VENV)/.base requirements/test.txt
	@echo "Installing the test tools into $(VENV) (once, about 7 GB) ..."
	@grep -E '^(nvidia-|cuda-|triton)' requirements/test.txt > $(VENV)/cuda.txt
	@$(PIP) install --no-compile --no-deps -r $(VENV)/cuda.txt
	@$(PIP) install --no-compile -r requirements/test.txt
	@touch $@

demo: $(VENV)/.base
	@$(BIN)/retest demo --out $(OUT)

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long" $(ARGS)

test-all: $(VENV)/.test
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

chaos: $(VENV)/.test
	@$(BIN)/python -m pytest --timeout 3600 tests/chaos $(ARGS)

# An environment of its own: what audits is no part of what is audited.
build/audit-venv/.ready: $(VENV)/.created requirements/audit.txt
	@$(BIN)/python -m venv build/audit-venv
	@build/audit-venv/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/audit.txt
	@touch $@

audit: build/audit-venv/.ready
	@build/audit-venv/bin/python .ci/audit build/audit-venv/bin/python -m pip_audit

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

types: $(VENV)/.test
	@$(BIN)/mypy

format: $(VENV)/.test
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.base
	@$(BIN)/python -c "from retest.study.config import settings_reference; print(settings_reference(), end='')" > docs/settings.md
	@$(BIN)/python docs/pictures.py

# An environment of its own: what documents must not change what is tested.
build/site-venv/.ready: $(VENV)/.created requirements/docs.txt
	@$(BIN)/python -m venv build/site-venv
	@build/site-venv/bin/python -m pip --disable-pip-version-check --quiet install -r requirements/docs.txt
	@touch $@

site: build/site-venv/.ready
	@PYTHONPATH=src build/site-venv/bin/python -m sphinx -E -a -W --keep-going -q -b html -d build/site-doctrees docs build/site
	@echo "build/site/index.html"

dist: $(VENV)/.test
	@$(BIN)/python -m hatchling build -d dist

release-check: $(VENV)/.test
	@$(BIN)/python -m pytest -rs tests/release $(ARGS)

install-check: $(VENV)/.test
	@$(BIN)/python -m pytest -rs tests/release -k clean_installation

# Another Python than that of .venv: an environment of its own in build/, the core tests, no torch.
test-python:
	@$(PYTHON) -m venv build/python-$(notdir $(PYTHON))
	@grep -vE '^(torch|torchvision|timm|onnx|onnxruntime|onnxscript|onnx-ir|safetensors|triton|nvidia-.*|cuda-.*)==' requirements/test.txt > build/python-$(notdir $(PYTHON))/core.txt
	@build/python-$(notdir $(PYTHON))/bin/python -m pip --disable-pip-version-check --quiet install -r build/python-$(notdir $(PYTHON))/core.txt
	@build/python-$(notdir $(PYTHON))/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --editable .
	@build/python-$(notdir $(PYTHON))/bin/python -m pytest -n 2 --dist loadgroup -m "not long and not browser" $(ARGS)

lock:
	uv pip compile --universal --python-version 3.11 --upgrade -q --no-header --no-annotate --no-emit-package retest pyproject.toml --extra all --group dev -o requirements/test.txt
	uv pip compile --universal --python-version 3.11 -q --no-header --no-annotate pyproject.toml -c requirements/test.txt -o requirements/base.txt
	uv pip compile --universal --python-version 3.11 -q --no-header --no-annotate pyproject.toml --group docs -c requirements/test.txt -o requirements/docs.txt
	uv pip compile --universal --python-version 3.11 --upgrade -q --no-header --no-annotate --only-group audit pyproject.toml -o requirements/audit.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
