.PHONY: setup audit demo test test-fast unit lint test-kafka bench-quality bench-teacher

BIN := .venv/bin
ARGS ?=
# One thread a process: several workers share the cores, and nested thread pools fight over them.
export OMP_NUM_THREADS ?= 1

setup:
	@deploy/setup.sh

demo: setup
	@$(BIN)/anomalyllm demo $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Everything, on as many workers as the machine has room for (ARGS="-n 0": in this process).
test: lint
	$(BIN)/pytest -n auto --cov --cov-report= $(ARGS)
	@echo "coverage: $$($(BIN)/coverage report --format=total) % of lines (by file: $(BIN)/coverage report)"

# The inner loop: lint and types beside what needs neither servers nor patience.
test-fast: setup
	@$(MAKE) --no-print-directory -j 2 lint unit

unit: setup
	$(BIN)/pytest -n auto --ignore=tests/integration --ignore=tests/chaos -m "not slow" $(ARGS)

test-kafka: setup
	@deploy/kafka/fetch.sh
	@if [ -d .state/kafka/libs ]; then ANOMALYLLM_TEST_KAFKA=1 $(BIN)/pytest -n auto -m kafka $(ARGS); fi

# Known vulnerabilities and licences of what is installed; says so where the services cannot be reached.
audit: setup
	@deploy/audit.sh

# About 70 minutes on two cores; cut off, it goes on where it stopped. Data: ANOMALYLLM_DATA.
bench-quality: setup
	$(BIN)/python -m bench.quality $(ARGS)

# Where the LLM helps: about an hour of one core. Data: ANOMALYLLM_DATA.
bench-teacher: setup
	$(BIN)/python -m bench.teacher $(ARGS)
