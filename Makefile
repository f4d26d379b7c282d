.PHONY: setup audit images-check demo test whole test-fast coverage unit lint docs test-kafka bench-quality bench-teacher chaos soak

BIN := .venv/bin
ARGS ?=
# One thread a process: several workers share the cores, and nested thread pools fight over them.
export OMP_NUM_THREADS ?= 1
# Tests start hundreds of processes, which would each compile our modules again.
unexport PYTHONDONTWRITEBYTECODE

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
test: setup
	@$(MAKE) --no-print-directory -j 2 lint whole

whole: setup
	$(BIN)/pytest -n auto -m "not bench" $(ARGS)

# The inner loop: lint and types beside what needs neither servers nor patience.
test-fast: setup
	@$(MAKE) --no-print-directory -j 2 lint unit

unit: setup
	$(BIN)/pytest -n auto --ignore=tests/integration --ignore=tests/chaos -m "not slow" $(ARGS)

# Which lines the inner loop runs: the tracer takes half as long again, so it is no part of `make test`.
coverage: setup
	$(BIN)/pytest -n auto --ignore=tests/integration --ignore=tests/chaos -m "not slow" --cov $(ARGS)

test-kafka: setup
	@deploy/kafka/fetch.sh
	@if [ -d .state/kafka/libs ]; then ANOMALYLLM_TEST_KAFKA=1 $(BIN)/pytest -n auto -m kafka tests/integration tests/chaos $(ARGS); fi

# 220 faults on three Apache Kafka brokers while 200 streams flow, in a quarter of an hour: every incident and every window as
# without them. ARGS="--embedded": the short form, of thirty faults.
chaos: setup
	@deploy/kafka/fetch.sh
	@if [ -d .state/kafka/libs ]; then $(BIN)/python -m bench.chaos $(ARGS); fi

# An hour (SOAK_S=600: ten minutes) of a modest load: memory, descriptors, threads and delays must stay flat.
soak: setup
	@$(BIN)/python -m bench.soak $(ARGS)

# The documentation as pages for a browser: site/index.html.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Known vulnerabilities and licences of what is installed; says so where the services cannot be reached.
audit: setup
	@deploy/audit.sh

# The images' install steps in clean environments, without Docker: a minute or two, and 2 GB of disk.
images-check:
	@deploy/docker/check.sh

# Its slow tests run here alone. About 70 minutes on two cores; cut off, it goes on where it stopped. Data: ANOMALYLLM_DATA.
bench-quality: setup
	$(BIN)/pytest -q -m bench tests/bench
	$(BIN)/python -m bench.quality $(ARGS)

# Where the LLM helps: about an hour of one core. Data: ANOMALYLLM_DATA.
bench-teacher: setup
	$(BIN)/python -m bench.teacher $(ARGS)
