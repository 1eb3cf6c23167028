# The commands that make and deploy the cloud side; included by the Makefile.

SAM_BUILD ?= .aws-sam/build
DEPLOY    ?= --guided
SAM        = SAM_CLI_TELEMETRY=0 ARCH=$(ARCH) BUNDLE=$(BUNDLE) .venv/cloud/bin/sam

.PHONY: build deploy build-Function

build: .venv/cloud/.made      ## the deployable artifact, no container engine (ARCH=x86_64|arm64, BUNDLE=)
	$(SAM) build --template template.yaml --build-dir $(SAM_BUILD) --parameter-overrides Architecture=$(ARCH)

deploy: build      ## put the stack into your AWS account (ARCH=, BUNDLE=; DEPLOY= instead of --guided)
	$(SAM) deploy --template $(SAM_BUILD)/template.yaml --parameter-overrides Architecture=$(ARCH) $(DEPLOY)

# `sam build` comes here for the resource Function of template.yaml, with the folder to fill in ARTIFACTS_DIR.
build-Function: .venv/cloud/.made
	@.venv/cloud/bin/python -m infra.artifact --arch $(ARCH) --bundle $(BUNDLE) --out $(ARTIFACTS_DIR)
