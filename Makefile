# The commands of Dormouse. Each makes what it needs; a machine needs python 3.11+, make and git.

PORT   ?= 8080
BUNDLE ?= models/house/bundle
MODEL  ?=
OUT    ?=
QUANT  ?= int4
WAY         ?=
CONTEXT     ?=
ROUNDING    ?=
CALIBRATION ?=
ADAPTER     ?=
TARGET_SIZE ?=
TARGET_KL   ?=
TEXT        ?=
DIALOGUES   ?=
ACCEPT      ?=
FRONTIER    ?=
ARCH   ?= x86_64
TESTS  ?= tests

# Shims that name a python without having one are passed over: each candidate has to run.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)

# A folder's name may have spaces; and once it is quoted, no shell looks for the tilde of a home.
path = "$(patsubst ~/%,$(HOME)/%,$(1))"

.DEFAULT_GOAL := help
.PHONY: help chat test bundle report bench check format lock house browser clean

help:                ## this list
	@grep -hE '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 16

chat: .venv/run/.made      ## serve the model on http://127.0.0.1:8080 (PORT=, BUNDLE=)
	@exec .venv/run/bin/python -m handler.local --port "$(PORT)" --bundle $(call path,$(BUNDLE))

test: .venv/dev/.made .venv/cloud/.made .venv/clients/.made .venv/load/.made browser      ## the whole test suite, real components included (TESTS=)
	.venv/dev/bin/python -m pytest $(TESTS)

bundle: .venv/export/.made      ## MODEL=<hub id or folder> OUT=<folder> [QUANT=int4|int8|fp32] [CONTEXT=<tokens>] [WAY=fused|universal] [CALIBRATION=<text file>] [ROUNDING=gptq|nearest] [ADAPTER=<peft folder>] [TARGET_SIZE=400MB|TARGET_KL=0.02] [TEXT=<text file to judge on>] [DIALOGUES=<JSON lines to score answers on>] [ACCEPT="why, though checks fail"] [FRONTIER=1]
	@test -n "$(MODEL)" || { echo "make bundle: MODEL= is missing: a hub id or a folder" >&2; exit 2; }
	@test -n "$(OUT)" || { echo "make bundle: OUT= is missing: the folder to write" >&2; exit 2; }
	@exec .venv/export/bin/python -m export $(call path,$(MODEL)) --out $(call path,$(OUT)) --quant "$(QUANT)" \
		$(if $(CONTEXT),--context "$(CONTEXT)") $(if $(WAY),--way "$(WAY)") \
		$(if $(ROUNDING),--rounding "$(ROUNDING)") $(if $(CALIBRATION),--calibration $(call path,$(CALIBRATION))) \
		$(if $(ADAPTER),--adapter $(call path,$(ADAPTER))) $(if $(TEXT),--text $(call path,$(TEXT))) \
		$(if $(DIALOGUES),--dialogues $(call path,$(DIALOGUES))) \
		$(if $(ACCEPT),--accept "$(ACCEPT)") $(if $(filter-out 0 no false,$(FRONTIER)),--frontier) \
		$(if $(TARGET_SIZE),--target-size "$(TARGET_SIZE)") $(if $(TARGET_KL),--target-kl "$(TARGET_KL)")

report: .venv/export/.made      ## the embedded model's report, docs/report/house.{html,md,json} (QUANT=)
	@exec .venv/export/bin/python -m export models/house/checkpoint --out build/report/house --quant "$(QUANT)" \
		--dialogues models/house/checkpoint/dialogues.jsonl --frontier --report-to docs/report/house

check: .venv/dev/.made .venv/cloud/.made .venv/checkov/.made      ## format, lint, types, import floors, the template
	.venv/dev/bin/ruff format --check .
	.venv/dev/bin/ruff check .
	.venv/dev/bin/mypy
	.venv/dev/bin/lint-imports
	.venv/cloud/bin/cfn-lint template.yaml
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 .venv/cloud/bin/sam validate --lint --template template.yaml
	.venv/checkov/bin/checkov --config-file infra/checkov.yaml
	.venv/dev/bin/hadolint infra/image/Dockerfile

format: .venv/dev/.made      ## put the code in its format
	.venv/dev/bin/ruff check --fix .
	.venv/dev/bin/ruff format .

house: .venv/export/.made      ## corpus, training and evaluation of the embedded model (TRAIN="--device cuda --workers 1 --bfloat16": a quarter of an hour, else days)
	.venv/export/bin/python -m export.house all $(TRAIN)

browser: .venv/dev/.made      ## Chromium for the page's tests, where there is none
	@.venv/dev/bin/python -m tests.e2e.page.chromium >/dev/null 2>&1 && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; then exit 0; fi; \
	.venv/dev/bin/python -m playwright install chromium && exec .venv/dev/bin/python -m tests.e2e.page.chromium

include infra/build.mk
include bench/bench.mk

# --- environments -------------------------------------------------------------------------------------------
# Installed from locks and with --no-deps: nothing floats. What is deployed, and what deploys, is checked by hash.

NEW_VENV = @test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv is found; PYTHON=<path> names one" >&2; exit 2; }; \
	$(PYTHON) -m venv

.venv/run/.made .venv/cloud/.made .venv/clients/.made: .venv/%/.made: requirements/%.txt
	@echo "Making .venv/$* (once, about a minute) ..." >&2
	$(NEW_VENV) .venv/$*
	@.venv/$*/bin/pip install -q --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

# PyTorch goes in first and alone: its own build decides which accelerator packages come along.
.venv/export/.made .venv/dev/.made: .venv/%/.made: requirements/%.txt
	@echo "Making .venv/$* (once, a few minutes) ..." >&2
	$(NEW_VENV) .venv/$*
	@.venv/$*/bin/pip install -q --disable-pip-version-check torch==2.13.0
	@.venv/$*/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

.venv/checkov/.made .venv/load/.made: .venv/%/.made: requirements/%.txt
	@echo "Making .venv/$* (once, about a minute) ..." >&2
	$(NEW_VENV) .venv/$*
	@.venv/$*/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

COMPILE = .venv/dev/bin/uv pip compile -q --python-platform x86_64-manylinux_2_28 --python-version 3.11 \
	--no-annotate --custom-compile-command "make lock"

lock: .venv/dev/.made      ## resolve pyproject's dependency groups into requirements/*.txt
	for g in function run; do $(COMPILE) --generate-hashes --group pyproject.toml:$$g \
		--override requirements/function-overrides.txt -o requirements/$$g.txt; done
	for g in export dev; do $(COMPILE) --group pyproject.toml:$$g \
		--override requirements/torch-overrides.txt -o requirements/$$g.txt; done
	for g in checkov load; do $(COMPILE) --group pyproject.toml:$$g -o requirements/$$g.txt; done
	$(COMPILE) --generate-hashes --group pyproject.toml:cloud -o requirements/cloud.txt
	$(COMPILE) --generate-hashes --group pyproject.toml:clients --override requirements/clients-overrides.txt \
		-o requirements/clients.txt
	$(subst 3.11,3.13,$(COMPILE)) --generate-hashes --group pyproject.toml:image \
		--override requirements/function-overrides.txt -o requirements/image.txt
	$(subst 3.11,3.13,$(COMPILE)) --group pyproject.toml:lambda -o requirements/lambda.txt

clean:      ## remove everything that was made: environments, bundles and conversations
	rm -rf build .venv .aws-sam
