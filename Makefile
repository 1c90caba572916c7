# shammah-engine. `make help` lists what there is.
#
# The program is built for one kind of machine at a time: TAG=cpu (the default), cuda or coreml.
# `make cuda` is `make TAG=cuda`; the same goes for run, bench and dist: `make run TAG=cuda`.
TAG ?= cpu
GO ?= go
CMAKE ?= cmake
CC ?= cc
PYTHON ?= python3
PROMPT ?= Tell me a story about a fox.

build := $(CURDIR)/build
program := $(build)/bin/shammah-engine
tags_cpu :=
tags_cuda := cuda
tags_coreml := coreml
version := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# Go does not see that a static library changed; a link flag with its checksum makes it link again, and only then.
native_sum = $(shell cksum $(build)/lib/libtokenizers.a 2>/dev/null | cut -d' ' -f1)
ldflags = -X main.nativeSum=$(native_sum)

.DEFAULT_GOAL := all
.PHONY: all cpu cuda coreml native program run test bench check dist clean help

all: program

cpu cuda coreml:
	@$(MAKE) --no-print-directory program TAG=$@

# The tools are looked for once, before the first configuration.
$(build)/cmake/CMakeCache.txt:
	@missing=0; \
	need() { command -v $$1 >/dev/null 2>&1 || { echo "missing: $$1: $$2" >&2; missing=1; }; }; \
	need $(GO) "install Go 1.26 or newer from https://go.dev/dl"; \
	need $(CC) "install a C compiler (Debian: apt install gcc libc6-dev)"; \
	need $(CMAKE) "install CMake 3.21 or newer (Debian: apt install cmake)"; \
	need cargo "install Rust from https://rustup.rs (Debian's own is too old)"; \
	need $(PYTHON) "install Python 3 with pip (Debian: apt install python3 python3-pip)"; \
	if command -v $(PYTHON) >/dev/null 2>&1; then $(PYTHON) -m pip --version >/dev/null 2>&1 \
	  || { echo "missing: pip: install it (Debian: apt install python3-pip)" >&2; missing=1; }; fi; \
	if [ $$missing = 1 ]; then exit 1; fi
	@$(CMAKE) -S $(CURDIR) -B $(build)/cmake > $(build)/configure.log 2>&1 \
	  || { cat $(build)/configure.log >&2; rm -f $@; exit 1; }

native: $(build)/cmake/CMakeCache.txt
	@$(CMAKE) --build $(build)/cmake --target native-$(TAG)

program: native
	$(GO) build -tags '$(tags_$(TAG))' -ldflags '$(ldflags) -X main.version=$(version)' -o $(program) ./cmd/shammah-engine
