.PHONY: test bench storm fleet game-day soak fuzz mutants

# Every test, on a fresh machine: what a test needs is built once and cached.
test:
	cargo test --locked

# The figures of docs/performance.md and the README, measured on this machine, printed, and written there. Ten minutes.
bench: fleet
	cargo test --locked --test figures

# Two hundred nodes interrupted at once, against a real API server, and a thousand in virtual time. Eight minutes.
storm:
	cargo test --locked --test storm

# The tables and the picture of docs/load-balancer.md, in virtual time.
fleet:
	cargo test --locked --profile soak --test fleet -- --ignored --nocapture --test-threads 1

# EC2 takes one spot node, then three, then half of them, in a cluster with all its controllers; eight minutes.
game-day:
	cargo test --locked --test game_day

# A million interruptions in virtual time.
soak:
	cargo run --locked --profile soak -- simulate --random 1000000

# Every parser of outside bytes, with half an hour of inputs that no run before had.
fuzz:
	cargo test --locked --profile soak --test fuzz -- --rounds 20000000 --seed $$(date +%s)

# Every small fault put into the planner, and which of them no test notices.
mutants:
	tests/mutants.sh
