# The commands of the README, and the checks that they and CI share.

TOOLS := $(shell tests/setup/tools --path)
export PATH := $(TOOLS):$(PATH)

# The programs that run in containers, crates of their own.
HELPERS := init differ
MANIFESTS := $(HELPERS:%=src/%/Cargo.toml)
# A command of cargo for the helper of the loop that it stands in.
helper = (set -x; $(1) --manifest-path src/$$helper/Cargo.toml --target-dir target/$$helper $(2))

# Ours, and the one that `imgforge init` writes.
WORKFLOWS := $(wildcard .github/workflows/*.yml) src/model/scaffold/ci.yml

.PHONY: demo test bench bench-build bench-publish check fuzz tools

# The whole journey, from recipe to healthy container, on this machine.
demo:
	@tests/setup/engine
	@tests/setup/tools mmdebstrap gcc
	@tests/demo

# All that must hold before a change lands.
test: check
	tests/setup/engine
	cargo test --locked
	@for helper in $(HELPERS); do $(call helper,cargo test --locked) || exit; done

# What docs/benchmarks.md shows: every program in tests/bench that can be run, one after the other.
bench:
	@for bench in $$(find tests/bench -maxdepth 1 -type f -perm -u+x | sort); do $$bench || exit; done

# Building alone: imgforge and docker buildx bake take turns on one engine. IMGFORGE is the program.
bench-build: tools
	@[ -n "$(IMGFORGE)" ] || cargo build --locked --release
	@tests/bench/build

# Uploading alone: imgforge and rclone take turns at one S3 server; then once more with 2 GiB, for the memory.
bench-publish: tools
	@[ -n "$(IMGFORGE)" ] || cargo build --locked --release
	@tests/bench/publish
	@tests/bench/publish 1 2048

# What reads foreign bytes, fed with more and more of them. Needs cargo-fuzz, and a C++ compiler for the fuzzer.
FUZZ = bundle release channel trust tail layer patch program advisories
FUZZ_SECONDS = 600
fuzz:
	@[ -d fuzz/corpus ] || cp -r fuzz/seeds fuzz/corpus
	for target in $(FUZZ); do \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) || exit; done

check: tools
	cargo fmt --check
	for manifest in $(MANIFESTS); do cargo fmt --check --manifest-path $$manifest || exit; done
	cargo clippy --locked --all-targets -- -D warnings
	@for helper in $(HELPERS); do $(call helper,cargo clippy --locked --all-targets,-- -D warnings) || exit; done
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	@# Only that the fuzz targets compile; nothing is linked, so the fuzzer itself need not be built.
	CUSTOM_LIBFUZZER_PATH=/nowhere/libFuzzer.a cargo check --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	cargo deny --locked check bans licenses sources
	for manifest in $(MANIFESTS); do \
	    cargo deny --locked --manifest-path $$manifest --config deny.toml check bans licenses sources || exit; done
	typos
	actionlint $(WORKFLOWS)
	@# Offline: what it would look up is only whether a pinned action is known to be bad.
	zizmor --offline --no-progress --quiet $(WORKFLOWS) action.yml

tools:
	@tests/setup/tools
