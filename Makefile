# `make demo` and `make test` set up what they need: system parts by apt, Python parts in .venv.
PYTHON ?= python3
BOARD ?= nucleo_f746zg
ARGS ?=
BIN := .venv/bin
# A network of the paper's size takes a second a step on the emulated board: minutes, not hours.
PHOTOS := vww_voc07
LARGE := --scheme 49kb --lr 0.005 --samples 200 --held-out 100
export MCUGRAD_DATA ?= $(if $(wildcard ../shared/data),$(abspath ../shared/data))

.PHONY: demo test bench bench-kernels nightly lint format clean

demo: .venv/demo.stamp
	$(BIN)/python host/train_on_board.py --board $(BOARD) $(if $(MODEL),--model $(MODEL) $(LARGE)) \
		$(if $(DATA),--data $(DATA),$(if $(MODEL),--data $(PHOTOS))) $(if $(SCHEME),--scheme $(SCHEME)) $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

bench: .venv/dev.stamp
	$(BIN)/python -m mcugrad bench --board $(BOARD) $(ARGS)

bench-kernels: .venv/dev.stamp
	$(BIN)/python -m mcugrad bench-kernels --board $(BOARD) $(ARGS)

nightly: .venv/dev.stamp
	$(BIN)/python -m hil_tests.nightly $(ARGS)
	$(BIN)/python -m mcugrad bench --all

lint: .venv/dev.stamp
	$(BIN)/ruff check host hil_tests
	$(BIN)/ruff format --check host hil_tests
	$(BIN)/mypy
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h')

format: .venv/dev.stamp
	$(BIN)/ruff check --fix host hil_tests
	$(BIN)/ruff format host hil_tests
	clang-format -i $$(git ls-files '*.c' '*.h')

.venv/demo.stamp: .ci/locks/demo.txt .ci/setup
	.ci/setup demo $(PYTHON)
	touch $@

.venv/dev.stamp: .ci/locks/dev.txt .ci/setup
	.ci/setup dev $(PYTHON)
	touch $@ .venv/demo.stamp

clean:
	rm -rf build .pio runs
