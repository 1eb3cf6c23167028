# The commands that make and deploy the cloud side; included by the Makefile.

SAM_BUILD  ?= .aws-sam/build
STACK      ?=
PARAMETERS ?=
SAM         = SAM_CLI_TELEMETRY=0 ARCH=$(ARCH) BUNDLE=$(call path,$(BUNDLE)) .venv/cloud/bin/sam
DEPLOY      = $(SAM) deploy --template $(SAM_BUILD)/template.yaml --config-file $(CURDIR)/samconfig.toml \
	$(if $(STACK),--stack-name $(STACK),--guided)
# A stack keeps what is not named, and a version that takes over at once is an exception that nobody means to keep.
ROLLOUT     = Rollout=Canary10Percent5Minutes

# A stack keeps its instruction set: without ARCH= it is built for what it has. AWS is asked once, when it is needed.
ARCH_IS_GIVEN = $(filter-out file,$(origin ARCH))
NEW_ARCH   := $(ARCH)
STACK_ARCH  = $(eval STACK_ARCH := $$(shell .venv/cloud/bin/python -m infra.parameters $(STACK) Architecture \
	--default $(NEW_ARCH)))$(STACK_ARCH)
ifeq ($(if $(STACK),$(ARCH_IS_GIVEN),no stack),)
deploy: ARCH = $(or $(STACK_ARCH),$(error make deploy: ARCH= is missing: the stack could not be asked for its own))
endif

# The model in the zip is not the stack's to keep: it is whatever is built.
BUNDLE_NOTE = echo "make deploy: the model in the zip is now $(BUNDLE); BUNDLE= names another" >&2

.PHONY: build deploy smoke arm64 build-image deploy-image build-Function build-Authorizer

build: .venv/cloud/.made      ## the deployable artifact, no container engine (ARCH=x86_64|arm64, BUNDLE=)
	$(SAM) build --template template.yaml --build-dir $(SAM_BUILD) --parameter-overrides Architecture=$(ARCH)

deploy: build      ## put the stack into your AWS account (STACK=, or it asks for everything; ARCH=, BUNDLE=, PARAMETERS="Name=value ...")
	@$(if $(filter file,$(origin BUNDLE)),$(BUNDLE_NOTE))
	$(DEPLOY) --parameter-overrides Architecture=$(ARCH) $(ROLLOUT) $(PARAMETERS)

smoke: .venv/clients/.made      ## ask a server whether it is sound (OPENAI_BASE_URL=, OPENAI_API_KEY=)
	@SMOKE_KEY="$(OPENAI_API_KEY)" .venv/clients/bin/python -m infra.smoke $(OPENAI_BASE_URL)

IMAGE_TEMPLATE = build/image-template.yaml
IMAGE_REPOSITORY = $(shell echo '$(IMAGE)' | sed -E 's/(@sha256:.*|:[^:\/]*)$$//')

build-image: .venv/cloud/.made      ## the same stack for a container image, for bundles too large for a zip (ARCH=)
	@mkdir -p $(dir $(IMAGE_TEMPLATE))
	.venv/cloud/bin/python -m infra.image.template > $(IMAGE_TEMPLATE)
	$(SAM) build --template $(IMAGE_TEMPLATE) --base-dir . --build-dir $(SAM_BUILD)

deploy-image: build-image      ## IMAGE=<the image in ECR> (STACK=, or it asks for everything; ARCH=, PARAMETERS=)
	@test -n "$(IMAGE)" || { echo "make deploy-image: IMAGE= is missing: the image in ECR" >&2; exit 2; }
	$(DEPLOY) --image-repository $(IMAGE_REPOSITORY) --parameter-overrides $(if $(ARCH_IS_GIVEN),Architecture=$(ARCH)) ImageUri=$(IMAGE) $(ROLLOUT) $(PARAMETERS)

# `sam build` comes here for the resource Function of template.yaml, with the folder to fill in ARTIFACTS_DIR.
build-Function: .venv/cloud/.made
	@.venv/cloud/bin/python -m infra.artifact --arch $(ARCH) --bundle $(call path,$(BUNDLE)) --out $(ARTIFACTS_DIR)

# The authorizer is its own few files and no package; all of one age, so that equal inputs make equal zips.
build-Authorizer:
	@for file in handler/__init__.py handler/keys.py infra/__init__.py infra/authorizer/*.py; do \
		mkdir -p $(ARTIFACTS_DIR)/$$(dirname $$file) && cp $$file $(ARTIFACTS_DIR)/$$file \
			&& touch -t 198001020000 $(ARTIFACTS_DIR)/$$file || exit 1; done

# What Lambda's python3.13 runtime carries by itself, under a real python3.13: the tests of the artifact run in it.
PYTHON313 ?= $(shell for p in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && command -v $$p && break; done)

test: .venv/lambda/.made

.venv/lambda/.made: requirements/lambda.txt | .venv/dev/.made
	@echo "Making .venv/lambda (once, a few seconds) ..." >&2
	@python=$(PYTHON313); test -n "$$python" || python=$$(.venv/dev/bin/uv python find 3.13 2>/dev/null) \
		|| { .venv/dev/bin/uv python install -q 3.13 && python=$$(.venv/dev/bin/uv python find 3.13); }; \
	$$python -m venv .venv/lambda
	@.venv/lambda/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

# An arm64 python3.13 under QEMU, of Debian's packages: in it the tests run the arm64 artifact, where it can be made.
arm64: .venv/arm64/bin/python .venv/dev/.made .venv/cloud/.made .venv/lambda/.made      ## the arm64 artifact chats, emulated, beside this machine's (BUNDLE=)
	@test -x $<
	ARM64_BUNDLE=$(BUNDLE) .venv/dev/bin/python -m pytest -q -s tests/e2e/artifact/test_arm64.py

test: .venv/arm64/bin/python

.venv/arm64/bin/python: requirements/lambda.txt infra/arm64.py | .venv/dev/.made
	@.venv/dev/bin/python -m infra.arm64 --out .venv/arm64 --if-possible
