# The two commands of the README, and the checks that both of them and CI share.

TOOLS := $(shell tests/setup/tools --path)
export PATH := $(TOOLS):$(PATH)

.PHONY: demo test check tools

# The whole journey, from recipe to healthy container, on this machine.
demo:
	@tests/setup/engine
	@tests/setup/tools mmdebstrap gcc
	@tests/demo

# All that must hold before a change lands.
test: check
	tests/setup/engine
	cargo test --locked

check: tools
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
	cargo deny --locked check bans licenses sources
	typos

tools:
	@tests/setup/tools
