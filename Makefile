# The commands of this project; `make` lists them. Building needs Rust and a C compiler, `make test` also Python 3 and
# Node.

.PHONY: help try build dist dist-amd64 dist-arm64 packages demo recording picture test test-arm64 check docs bench fuzz sanitize mutants peers bindings clean

# A line `target: ## what it does; N min` is listed.
help: ## lists the commands
	@awk -F ':.*## |; ' '/^[a-z0-9-]+:.*## / {printf "make %-10s %6s  %s\n", $$1, $$3, $$2}' Makefile
	@echo 'Times are those of the first run, on two cores.'

# Without link-time optimization, which takes most of the time of `make build`.
try: ## builds kinesis.so and fake_kinesis, for the quick start in README.md; 5 min
	cargo build --profile demo --lib --example fake_kinesis
	cp target/demo/libkinesis.so kinesis.so
	cp target/demo/examples/fake_kinesis fake_kinesis

# cargo rustc with one crate type: with an rlib as well, cargo would skip link-time optimization.
build: ## builds kinesis.so, the file Fluent Bit loads; 5 min
	cargo rustc --release --lib --crate-type cdylib
	cp target/release/libkinesis.so kinesis.so

# Only the Rust version named in .github/workflows/library.yml and the Dockerfile reproduces the released bytes.
dist: dist-amd64 dist-arm64 ## builds the files to release, for x86-64 and arm64 with glibc 2.17 or newer, and tests them; 30 min

# Inspects the file, loads it a thousand times, and sends through it in the demonstration.
dist-amd64: .cargo-tools/zig/installed
	TARGET=x86_64-unknown-linux-gnu scripts/dist
	cargo test --test real library_file::dist::
	KINESIS_SO=dist/kinesis.so cargo test --test host load_unload::
	KINESIS_SO=dist/kinesis.so scripts/demo

# To load it in an emulator: KINESIS_SO=dist/arm64/kinesis.so make test-arm64.
dist-arm64: .cargo-tools/zig/installed $(if $(filter x86_64,$(shell uname -m)),.cargo-tools/arm64/installed)
	TARGET=aarch64-unknown-linux-gnu scripts/dist
	cargo test --test real library_file::dist_arm64::

packages: .cargo-tools/bin/cargo-deb .cargo-tools/bin/cargo-generate-rpm ## packages what `make dist` built, as .deb and .rpm in dist; 5 min
	scripts/packages dist/kinesis.so dist/arm64/kinesis.so

# Barely optimized: compiling takes longer than packaging ever will.
PACKAGER := CARGO_PROFILE_RELEASE_OPT_LEVEL=1 cargo install --locked --root .cargo-tools
.cargo-tools/bin/cargo-deb:
	$(PACKAGER) cargo-deb --version 3.8.0

.cargo-tools/bin/cargo-generate-rpm:
	$(PACKAGER) cargo-generate-rpm --version 0.21.1

demo: ## sends a log file through the plugin to a stand-in for Kinesis and counts what arrived, with FAULTS=1 through throttling, cut connections and a kill; 3 min
	scripts/demo

recording: target/recording/installed ## records that demonstration, with faults, as docs/images/demo.svg; 4 min
	target/recording/bin/python scripts/recording

# What plays the terminal.
target/recording/installed: scripts/recording.txt
	rm -rf target/recording
	python3 -m venv target/recording
	target/recording/bin/python -m pip install --quiet --require-hashes --requirement $<
	touch $@

# Needs Fluent Bit, named by FLUENT_BIT, Debian's prometheus, and chromium.
picture: scripts/dashboard/node_modules/installed ## draws the dashboard, with an outage, as docs/images/dashboard-*.png; 25 min
	rm -f target/dashboard.json
	DATA=$(CURDIR)/target/dashboard.json cargo test --test real dashboard::the_story
	@[ -e target/dashboard.json ] || { echo 'make: nothing to draw: the test says what it needs' >&2; exit 1; }
	node scripts/dashboard/draw.mjs target/dashboard.json

# Grafana's components, and what photographs them.
scripts/dashboard/node_modules/installed: scripts/dashboard/package-lock.json
	npm ci --prefix scripts/dashboard --ignore-scripts --no-audit --no-fund
	touch $@

test: peers ## runs every test, including those against other Kinesis servers; 20 min
	scripts/test

test-arm64: .cargo-tools/zig/installed .cargo-tools/arm64/installed ## builds for arm64 on x86-64, and runs the tests in an emulator; 25 min
	scripts/test-arm64

check: .venv/installed ## format, lints, links, spelling and documentation, as CI wants them; 5 min
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps
	.venv/bin/typos
	cargo test --quiet --test it -- documentation:: options:: prose:: readme:: charts:: numbers::

docs: .cargo-tools/bin/mdbook ## builds the documentation as a site, in target/book; 3 min
	scripts/book

.cargo-tools/bin/mdbook:
	$(PACKAGER) mdbook --version 0.5.4 --no-default-features --features search

bench: ## measures what the plugin costs, also in Fluent Bit if FLUENT_BIT names it; 15 min
	scripts/bench

# The fuzzer's finds collect in fuzz/target; the corpus in fuzz/corpus, which `make test` replays, is chosen by hand.
# RUSTC_BOOTSTRAP lets the stable compiler take the sanitizer's flags.
TRIPLE := $(shell uname -m)-unknown-linux-gnu

FUZZ_SECONDS ?= 60
fuzz: .cargo-tools/bin/cargo-fuzz ## fuzzes chunks, records and replies, each for FUZZ_SECONDS (60)
	for target in chunk json reply; do \
		mkdir -p fuzz/target/corpus/$$target && \
		RUSTC_BOOTSTRAP=1 .cargo-tools/bin/cargo-fuzz fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/$$target \
			-- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 || exit 1; \
	done

.cargo-tools/bin/cargo-fuzz:
	cargo install cargo-fuzz --version 0.13.2 --locked --root .cargo-tools

# Runs the unsafe code and its test hosts with every access checked. The stable compiler takes the flag as above.
# Coroutines are left out, because the sanitizer mistakes a switch of stacks for a fault; valgrind checks those. Miri
# cannot run any of this: it lacks dlopen, the host's symbols, timerfd and ucontext, which all unsafe code here uses.
sanitize: ## runs the code at the C boundary under AddressSanitizer; 10 min
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
		cargo test --target $(TRIPLE) --target-dir target/sanitize --lib -- abi:: host:: plugin:: system::
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
		cargo test --target $(TRIPLE) --target-dir target/sanitize --test host abi::

# Takes hours; MUTANTS='--re src/kinesis/verdict/mod.rs' selects a part. Mutants that no test notices are listed in
# target/mutants.out/missed.txt; those that may survive are in .cargo/mutants.toml, with reasons.
MUTANTS ?=
mutants: .cargo-tools/bin/cargo-mutants ## breaks the code in hundreds of ways, and fails if no test notices one; hours
	SCHEDULES=200 .cargo-tools/bin/cargo-mutants mutants $(MUTANTS)

.cargo-tools/bin/cargo-mutants:
	cargo install cargo-mutants --version 27.1.0 --locked --root .cargo-tools

# Linker and C compiler, with the symbols of every glibc since 2.17.
.cargo-tools/zig/installed: deploy/dist.txt
	@python3 -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo 'make: building the released file needs tools from PyPI: python3 with venv' >&2; exit 1; }
	rm -rf .cargo-tools/zig .cargo-tools/python
	python3 -m venv .cargo-tools/python
	.cargo-tools/python/bin/python -m pip install --quiet --require-hashes --target .cargo-tools/zig --requirement $<
	touch $@

# Rust for arm64 and an emulator, from Debian.
.cargo-tools/arm64/installed: deploy/arm64.txt
	scripts/arm64-tools

peers: .venv/installed node_modules/installed .cargo-tools/bin/cargo-deb .cargo-tools/bin/cargo-generate-rpm ## installs the servers and tools for the tests into this folder; 5 min

bindings: .venv/installed ## regenerates the bindings of the host and the header of the exports
	UPDATE=1 cargo test --test real generated

clean: ## removes everything that was built or installed
	cargo clean
	rm -rf .venv node_modules scripts/dashboard/node_modules kinesis.so fake_kinesis dist fuzz/target .cargo-tools

# Each stamp is newer than the list it was installed from.
.venv/installed: tests/real/peers/requirements.txt
	@python3 -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null \
		|| { echo 'make: the test peers need python3, 3.11 or newer, with venv (Debian: python3-venv)' >&2; exit 1; }
	rm -rf .venv
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --requirement $<
	touch $@

node_modules/installed: package-lock.json
	@npm --version >/dev/null 2>&1 && node --version >/dev/null 2>&1 \
		|| { echo 'make: the test peers need node and npm (Debian: nodejs npm)' >&2; exit 1; }
	npm ci --ignore-scripts --no-audit --no-fund
	touch $@
