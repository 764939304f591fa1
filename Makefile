# Sluice: `make run` builds and starts it, `make test` runs every test. See README.md.
.PHONY: run build test check sim soak bench fuzz web
.DEFAULT_GOAL := run

run:    ## install what is missing, build, start, print the page's address and an API key
	@.scripts/run

build:  ## build both binaries in release mode
	@.scripts/toolchain && cargo build --release --locked -p sluice-controlplane -p sluice-dataplane

test:   ## install what the tests need and run them all
	@.scripts/toolchain && .scripts/test-setup && .scripts/test

check:  ## formatting, lints, tidiness and unit tests
	@.scripts/toolchain && .scripts/check

web:    ## build the web application into controlplane/web/dist
	@cd controlplane/web && npm ci --no-audit --no-fund && npm run build

sim:    ## simulate both planes: `make sim SEEDS=1000`
	@.scripts/toolchain && SLUICE_SIM_SEEDS=$(or $(SEEDS),1000) cargo test --profile sim --locked -p sluice-tests --test sim -- --nocapture calls_survive

soak:   ## hold a call of thirty for an hour while planes are killed, then watch a film: `make soak SECONDS=600`
	@.scripts/toolchain && .scripts/soak $(SECONDS)

fuzz:   ## fuzz one target: `make fuzz TARGET=rtp SECONDS=60`
	@.scripts/toolchain && .scripts/fuzz "$(TARGET)" "$(SECONDS)"

bench:  ## what a delivered packet, a join and a viewer cost: `make bench ARGS='--viewers 200'`
	@.scripts/toolchain && .scripts/bench $(ARGS)
