.PHONY: test bench

# Every test, on a fresh machine: what a test needs is built once and cached.
test:
	cargo test --locked

bench:
	cargo build --release --locked
