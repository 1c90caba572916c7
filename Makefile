# shammah-engine. `make help` lists what there is.
#
# The program is built for one kind of machine at a time: TAG=cpu (the default), cuda or coreml.
# `make cuda` is `make TAG=cuda`; the same goes for run, bench and dist: `make run TAG=cuda`.
TAG ?= cpu
PROMPT ?= Tell me a story about a fox.
FUZZTIME ?= 20s
PEERS ?=
CHECK ?=
GO ?= go
CC ?= cc
CMAKE ?= cmake
PYTHON ?= python3

build := $(CURDIR)/build
jobs := $(shell getconf _NPROCESSORS_ONLN)
program := $(build)/bin/shammah-engine
version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
tag := $(filter-out cpu,$(TAG))

# Go does not notice that a static library changed. A link flag with its checksum makes it link (and test) again, and only then.
ldflags = -X main.libtokenizers=$(shell cksum $(build)/lib/libtokenizers.a 2>/dev/null | cut -d' ' -f1)
go_test = $(GO) test -ldflags '$(ldflags)'

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := program
.PHONY: program cpu cuda coreml native run test vet unit ctest bench peers bench-check accuracy check race cgocheck fuzz hf lora cross tags dist clean help

program: native ## or just make: the program for this machine's CPU, build/bin/shammah-engine
	$(GO) build -buildvcs=false -tags '$(tag)' -ldflags '$(ldflags) -X main.version=$(version)' -o $(program) ./cmd/shammah-engine

cpu: ## the same
cuda: ## the program with CUDA (Linux x64; fetches 255 MB the first time)
coreml: ## the program with CoreML (macOS)
cpu cuda coreml:
	@$(MAKE) program TAG=$@

native: $(build)/cmake/CMakeCache.txt ## only what is not Go: build/lib and build/include
	@$(CMAKE) --build $(build)/cmake --target native-$(TAG)

run: program ## the demonstration: PROMPT="..." asks the embedded model something else
	@$(program) run "$(PROMPT)"

test: vet unit ctest ## the tests: vet, style, units, C kernels under sanitizers

vet: native
	$(GO) vet -tags invariants ./...

unit: native
	$(go_test) -tags invariants ./...

ctest: $(build)/cmake/CMakeCache.txt
	@$(CMAKE) --build $(build)/cmake --target ctests --parallel $(jobs)
	@ctest --test-dir $(build)/cmake --output-on-failure --no-tests=error --parallel $(jobs)

bench: program ## the benchmarks: Go's own, then the program's on the embedded model
	$(go_test) -run '^$$' -bench . -benchmem ./...
	$(program) bench

peers: program ## ours beside onnxruntime-genai, OpenVINO GenAI and llama.cpp: PEERS="--sizes 0.5b --tests pp512,tg128@d16" chooses
	$(PYTHON) scripts/peers/compare.py $(PEERS)

bench-check: program ## has a change made it slower? Our kernels beside the runtime's, against the stored ratios: CHECK="--sizes embedded,0.5b"
	$(PYTHON) scripts/peers/check.py $(CHECK)

accuracy: native ## our kernels beside exact computation: perplexity, and 2,000 greedy tokens
	SHAMMAH_ACCURACY_TOKENS=2000 $(go_test) -count=1 -timeout 30m -run '^TestAccuracy$$' -v ./engine

check: ## all that CI does, step by step with times
	@.ci/run

# With -short: what takes long and is the work of one goroutine was run by test, and nothing here would see more of it.
race: native ## the steps of check, one by one: race cgocheck fuzz cross tags
	$(go_test) -race -short -tags invariants ./...

cgocheck: native
	GOGC=1 GODEBUG=cgocheck=1 $(go_test) -short -tags invariants ./ort/... ./engine/...

fuzz: native
	@GO='$(GO)' FUZZTIME=$(FUZZTIME) .ci/fuzz

hf: $(build)/hf/installed ## the cache is shared with Python's huggingface_hub (installed into build/hf)
	SHAMMAH_HF_PYTHON='$(PYTHON)' PYTHONPATH=$(build)/hf $(go_test) -count=1 -run TestPython -v ./internal/hub

$(build)/hf/installed: scripts/hub/requirements.txt
	@rm -rf $(build)/hf
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --target $(build)/hf -r $< \
	  || { echo 'make hf: pip could not install $<: it needs the network, and Python 3.11 to 3.14' >&2; exit 1; }
	@touch $@

lora: $(build)/lora/installed ## adapters are trained by scripts/lora (PEFT and torch, 4 GB, installed into build/lora)
	PYTHONPATH=$(build)/lora $(PYTHON) scripts/lora/test.py engine/tiny/model

$(build)/lora/installed: scripts/lora/requirements.txt
	@rm -rf $(build)/lora
	@PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --no-compile --target $(build)/lora -r $< \
	  || { echo 'make lora: pip could not install $<: it needs the network, and Python 3.11 to 3.14' >&2; exit 1; }
	@touch $@

cross: native
	@$(CMAKE) --build $(build)/cmake --target zig
	@GO='$(GO)' .ci/cross

# The other two tags are compiled and linked without their libraries, which are opened at run time.
tags: native
	$(GO) build -buildvcs=false -tags cuda -ldflags '$(ldflags)' -o $(build)/tags/cuda ./cmd/shammah-engine
	$(GO) build -buildvcs=false -tags coreml -ldflags '$(ldflags)' -o $(build)/tags/coreml ./cmd/shammah-engine

dist: native ## build/dist: a folder and a tar of it that run where nothing is installed
	@GO='$(GO)' TAG='$(TAG)' VERSION='$(version)' LDFLAGS='$(ldflags)' build/package/dist

clean: ## remove all that was built (downloads stay in the user's cache folder)
	@find $(build) -mindepth 1 -maxdepth 1 ! -name package -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' $(lastword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "make %-11s %s\n", $$1, $$2 }'

# The tools are looked for before the first configuration, all at once.
$(build)/cmake/CMakeCache.txt:
	@GO='$(GO)' CC='$(CC)' CMAKE='$(CMAKE)' PYTHON='$(PYTHON)' third_party/tools
	@mkdir -p $(build)/cmake
	@$(CMAKE) -S $(CURDIR) -B $(build)/cmake -DCMAKE_C_COMPILER='$(CC)' -DPYTHON="$$(command -v $(PYTHON))" > $(build)/cmake/log 2>&1 \
	  || { cat $(build)/cmake/log >&2; rm -f $@; exit 1; }
