# `make bench`: Dormouse beside its peers, in one interleaved run. Included by the Makefile.
# Each peer has its own environment; one that cannot be made is left out, and the report says so.

SHAPES ?= smollm2-135m,qwen2.5-0.5b,gpt2
ROUNDS ?= 8
ONLY   ?=
PEERS  ?= llama genai openvino convert

.PHONY: bench bench-peers lock-bench load sizing

SECONDS_OF_LOAD ?= 60
ENVIRONMENTS    ?= 2
USERS           ?= 6
NAME            ?= $(if $(filter models/house/bundle,$(BUNDLE)),embedded,$(notdir $(patsubst %/,%,$(BUNDLE))))

load: .venv/dev/.made .venv/load/.made      ## a conversation mix on environments of one vCPU (ENVIRONMENTS=, USERS=, SECONDS_OF_LOAD=)
	.venv/dev/bin/python -m bench.load --environments $(ENVIRONMENTS) --users $(USERS) --seconds $(SECONDS_OF_LOAD) \
		--bundle $(BUNDLE)

sizing: .venv/dev/.made      ## memory size against speed, measured with a quota of processor time (BUNDLE=, NAME=)
	.venv/dev/bin/python -m bench.sizing measure --bundle $(NAME)=$(BUNDLE) --threads 0,1

bench: .venv/run/.made .venv/dev/.made bench-peers      ## ours and its peers, interleaved (SHAPES=, ROUNDS=, ONLY=)
	.venv/dev/bin/python -m bench --shapes $(SHAPES) --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY))

# A peer that fails to install must not stop the others: its stamp is missing, and the harness reports it absent.
bench-peers:
	@for p in $(PEERS); do $(MAKE) --no-print-directory .venv/bench-$$p/.made \
		|| echo "make bench: $$p could not be installed and is left out" >&2; done

# Built from source for this machine's own instruction set, as its users are told to.
.venv/bench-llama/.made: export CMAKE_ARGS = -DGGML_NATIVE=ON
.venv/bench-llama/.made: export CMAKE_BUILD_PARALLEL_LEVEL = 2
.venv/bench-llama/.made .venv/bench-genai/.made .venv/bench-openvino/.made: .venv/%/.made: requirements/%.txt
	@echo "Making .venv/$* (once; llama.cpp compiles for about ten minutes) ..." >&2
	@$(PYTHON) -m venv .venv/$*
	@.venv/$*/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

.venv/bench-convert/.made: requirements/bench-convert.txt
	@echo "Making .venv/bench-convert (once, a few minutes) ..." >&2
	@$(PYTHON) -m venv .venv/bench-convert
	@.venv/bench-convert/bin/pip install -q --disable-pip-version-check torch==2.13.0
	@.venv/bench-convert/bin/pip install -q --disable-pip-version-check --no-deps -r $<
	@touch $@

lock-bench: .venv/dev/.made
	for g in llama genai openvino convert; do $(subst "make lock","make lock-bench",$(COMPILE)) --group pyproject.toml:bench-$$g \
		--override requirements/bench-overrides.txt -o requirements/bench-$$g.txt; done
