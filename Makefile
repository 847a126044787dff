# The contributor's menu; the first two targets are the README's commands.
# A user with a GPU puts their own torch into .venv first, or sets CONSTRAINTS= to take the newest.

PYTHON      ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN         := .venv/bin
STAMP       := .venv/.installed
WORKERS     ?= 2
EXTRAS      ?= study,text,test

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench bench-guard clean

help: ## show this menu
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(STAMP) ## train, measure, classify and draw a grid of networks on real digits
	$(BIN)/landscape-fast study experiments/digits.yaml

test: $(STAMP) ## all tests, the slow ones included
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: .venv/.lint ## style, types, spelling, formatting, tables that fit their results
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell landscape_fast csrc tests benchmarks experiments docs README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')
	$(BIN)/python benchmarks/report --check
	$(BIN)/python experiments/report.py --check
	$(BIN)/python experiments/pages.py --check

format: .venv/.lint ## rewrite sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')

bench: $(STAMP) ## measure everything against plain torch and the packages people use
	$(BIN)/pytest benchmarks --benchmark-only -o python_files="bench_*.py" -o addopts="-ra --import-mode=importlib" --benchmark-columns=median,iqr,rounds

bench-guard: $(STAMP) ## five minutes of it: fails where a ratio is 20% worse than the committed one
	$(BIN)/python benchmarks/report/guard.py

clean: ## remove the environment and what was built; results stay
	rm -rf .venv build

# One environment for everything: .venv with the package in place and what the targets above need.
$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*.* csrc/*/*.*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "landscape_fast needs Python 3.11 or newer; say which with make PYTHON=..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
	  { echo "cannot make .venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/pip install -q --disable-pip-version-check $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

.venv/.lint: $(STAMP)
	$(BIN)/pip install -q --disable-pip-version-check $(CONSTRAINTS) -e '.[lint]'
	@touch $@
