# Every target can be scripted. `make demo` runs the whole pipeline on drawn decks; the others run one stage with config/.
.DEFAULT_GOAL := help
CARGO ?= cargo
BIN := target/release
ARGS ?=

.PHONY: help build build-cuda ci-local demo demo-loop test check check-aarch64 check-bucket check-cuda check-fuzz dependencies docs endurance packages mutants bench bench-loop bench-segments bench-peer bench-peer-cuda bench-peer-monitoring card-kit check-mpi test-mpi exercises parity parity-full fuzz collect label train score validate register monitor trigger clean-demo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9 -]*:.*## / { count = split($$1, names, " "); for (i = 1; i <= count; i++) printf "  %-16s %s\n", names[i], $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build all commands in release mode (FEATURES="pq-score/object-store,…")
	$(CARGO) build --release --workspace --bins $(if $(FEATURES),--features $(FEATURES))

CUDA := pq-collect/cuda,pq-train/cuda,pq-score/cuda,pq-validate/cuda,pq-register/cuda
build-cuda: ## the same with the CUDA backend, which needs nothing of CUDA to build
	$(CARGO) build --release --workspace --bins --features $(CUDA)

demo: build ## run every stage on drawn decks, without network, in ./demo
	@fixtures/demo/run.sh

demo-loop: build ## a year of the retraining loop in minutes, with a clock set by hand, on the slides of `make demo`, in ./demo-loop
	@fixtures/demo/loop.sh

# cargo-nextest runs every test in a process of its own, all programs at once; documentation is tested by cargo alone.
NEXTEST ?= $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo 1 || echo 0)
test: ## run all tests, with cargo-nextest where it is installed (NEXTEST=0: without)
	@if [ "$(NEXTEST)" = 1 ]; then set -x; $(CARGO) nextest run --workspace && $(CARGO) test --workspace --doc; \
	else set -x; $(CARGO) test --workspace; fi

check: ## formatting, lints, documentation (warnings are errors), circles of imports, path literals, configuration tables, frozen samples
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --quiet --workspace --test configuration --test imports --test literals --test samples
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

check-cuda: ## the CUDA backend as far as it can be checked without a GPU: builds, kernels, emulation
	.ci/check-cuda

check-aarch64: ## lints for aarch64, its kernels' tests under qemu-user, checks for macOS and Windows (needs a cross compiler and qemu-user; what is missing is named)
	.ci/check-aarch64

dependencies: ## licences, sources and unused dependencies (needs cargo-deny and cargo-machete; what is missing is named)
	.ci/dependencies

ci-local: ## the workflows: linters, and the shell of every step of the retraining loop against a bare repository (what is missing is named)
	.ci/workflows

docs: ## the book in target/book, its generated pages, its links and whether the exercises' patches apply (needs mdbook; without it the pages and links alone)
	docs/generate-reference --check
	docs/check-links
	docs/check-exercises --no-tests
	@if mdbook --version >/dev/null 2>&1; then set -x; mdbook build docs; else echo "mdbook is not installed: no book was built"; fi

PACKAGES ?=
packages: ## pack each library as it would be published, and build it from its package (PACKAGES=--no-verify: pack alone)
	.ci/packages $(PACKAGES)

EXERCISES ?=
exercises: ## each patch of docs/exercises solves its exercise, and its tests alone do not (EXERCISES="criterion trigger": these)
	docs/check-exercises $(EXERCISES)

BUCKET := pitchquest-registry/object-store,pq-register/object-store,pq-score/object-store,pq-monitor/object-store
check-bucket: ## lints and tests of what only the feature object-store builds (the tests need moto_server)
	$(CARGO) clippy -p pitchquest-registry -p pq-register -p pq-score -p pq-monitor --features $(BUCKET) --all-targets -- -D warnings
	$(CARGO) test -p pitchquest-registry --features object-store
	$(CARGO) test -p pq-register --features object-store --test bucket
	$(CARGO) test -p pq-score --features object-store --test bucket --test shipping
	$(CARGO) test -p pq-monitor --features object-store --test bucket

MPI := process-group/mpi,pq-train/mpi
check-mpi: test-mpi ## lints and tests of several processes over MPI (needs Open MPI with its headers and libclang; the tests also slurm-wlm and munge)
	$(CARGO) clippy --workspace --features $(MPI) --all-targets -- -D warnings

test-mpi: ## the tests of check-mpi alone
	$(CARGO) test --workspace --features $(MPI) --test mpi

# Tests that take minutes: ignored ones whose reason begins with "endurance".
ENDURANCE ?= pitchquest-registry hub-client durable-files
ENDURANCE_ARGS ?=
endurance: ## the long forms of tests with random input, kills and races (minutes; ENDURANCE="crates"; ENDURANCE_ARGS="--features pitchquest-registry/object-store" with moto_server)
	$(CARGO) test $(ENDURANCE:%=-p %) $(ENDURANCE_ARGS) --tests -- --ignored --skip child --skip writer

MUTANTS_ARGS ?=
mutants: ## change the code that computes losses, adapters, metrics and verdicts, and count which changes no test finds (needs cargo-mutants)
	$(CARGO) mutants $(MUTANTS_ARGS)

bench: ## criterion benches of the model, read them in target/criterion
	$(CARGO) bench -p vlm-lora

LOOP ?=
bench-loop: ## false alarms and power of the monitor and the trigger over made-up teams, and how long it takes (LOOP="level years"; SIMS, SEED, TRAINING="36 100", SIZES, WHOLE=1, MAX, YEARS, FIRST_YEAR, VISION=1, THREADS)
	$(CARGO) bench -p pitchquest-drift --bench loop -- $(LOOP)

SEGMENTS ?= target/segments
SLIDES ?= 10000000
DAYS ?= 28
bench-segments: ## report on a log of ten million scored slides (SEGMENTS=folder, SLIDES, DAYS), by time and memory (needs 8 GB of disk and GNU time)
	$(CARGO) bench -p pitchquest-drift --features segments --bench segments -- make $(SEGMENTS) $(SLIDES) $(DAYS)
	/usr/bin/time -v $(CARGO) bench -p pitchquest-drift --features segments --bench segments -- look $(SEGMENTS)

PARITY_PYTHON ?= python3
PEER_ARGS ?=
bench-peer: ## time a step beside transformers + PEFT on the same weights, into docs/benchmarks.md (PARITY_PYTHON=…, PEER_ARGS=…)
	$(CARGO) build --release -p vlm-lora --example step
	benches/peer/run.py --python $(PARITY_PYTHON) $(PEER_ARGS)

bench-peer-cuda: ## the same on the first GPU (needs one, and a torch with CUDA)
	$(CARGO) build --release -p vlm-lora --example step --features cuda
	benches/peer/run.py --device cuda --python $(PARITY_PYTHON) $(PEER_ARGS)

card-kit: ## build .card, what benches/card.sh runs on a machine with a GPU in one call of at most nine minutes (its parts: benches/card.sh --dry-run)
	CARGO="$(CARGO)" benches/card.sh --build

MONITORING_PYTHON ?= python3
COMPARISONS ?= 100
bench-peer-monitoring: ## show the same made-up decks to Evidently and alibi-detect, into docs/benchmarks.md (MONITORING_PYTHON=…, COMPARISONS; pip install evidently 'alibi-detect[torch]')
	$(CARGO) bench -p pitchquest-drift --bench peers -- $(CURDIR)/target/peer-monitoring $(COMPARISONS)
	$(MONITORING_PYTHON) benches/peer-monitoring/run.py target/peer-monitoring

parity: ## hold what vlm-lora writes against transformers and PEFT (needs a Python that has them: PARITY_PYTHON=…)
	rm -rf target/parity-export && mkdir -p target/parity-export
	VLM_EXPORT_DIR=$(CURDIR)/target/parity-export $(CARGO) test -p vlm-lora --test io exports
	HF_HUB_OFFLINE=1 $(PARITY_PYTHON) fixtures/parity/check_exports.py target/parity-export

REAL_DIR ?= target/real-geometry
parity-full: parity ## as parity, and the released geometry on random weights (2.5 GB of disk, 12 GB of memory)
	HF_HUB_OFFLINE=1 $(PARITY_PYTHON) fixtures/parity/real_geometry.py $(REAL_DIR)
	VLM_REAL_DIR=$(abspath $(REAL_DIR)) $(CARGO) test -p vlm-lora --test real_geometry -- --ignored --nocapture

check-fuzz: ## the fuzz targets compile: they are workspaces of their own, which nothing else builds (needs a C++ compiler)
	@for manifest in crates/*/fuzz/Cargo.toml; do \
		set -x; $(CARGO) check --target-dir target --manifest-path $$manifest || exit 1; set +x; \
	done

FUZZ_SECONDS ?= 60
# So many inputs instead, which is the same work on every machine.
FUZZ_RUNS ?=
fuzz: ## fuzz every reader of files for FUZZ_SECONDS each, or for FUZZ_RUNS inputs (needs cargo-fuzz, no nightly toolchain)
	@for file in crates/*/fuzz/fuzz_targets/*.rs; do \
		target=$$(basename $$file .rs); folder=$${file%/fuzz_targets/*}; \
		mkdir -p $$folder/corpus/$$target; seeds=$$(cd $${folder%/fuzz} && ls -d fuzz/seeds/$$target 2>/dev/null); \
		(cd $${folder%/fuzz} && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer=none $$target fuzz/corpus/$$target $$seeds \
			-- $(if $(FUZZ_RUNS),-runs=$(FUZZ_RUNS),-max_total_time=$(FUZZ_SECONDS)) -rss_limit_mb=1024) || exit 1; \
	done

collect label train score validate register monitor trigger: build ## one stage; pass arguments as ARGS="…"
	$(BIN)/pq-$@ $(ARGS)

clean-demo: ## remove what the demo made
	rm -rf demo demo-loop
