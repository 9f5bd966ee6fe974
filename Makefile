# make demo     a private onion network on this machine, with a SOCKS5 port in front of it
# make test     all tests
# make test-programs    real programs and raw sockets through a network on this machine
# make attack   hostile clients, routers, directories and destinations against real daemons, and what held
# make faults   3,000 runs of a simulated network, in which what fails is drawn
# make check    all tests under the thread and the address sanitizer
# make fuzz     feed every decoder and state machine 100,000 inputs
# make mutants  take each check away, and see that a test fails
# make timing   look for secrets in the time that code takes
# make bench    compare speed with C Tor and an ssh chain, on this machine
# make install  put the programs of 'make build' into PREFIX/bin (default /usr/local), and what systemd needs to run them

SHELL := /bin/bash
PREFIX ?= /usr/local
# Where systemd looks for units and users; where the daemons' options and keys are.
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
CONFDIR := /etc/thor
PROGRAMS_TO_INSTALL := thor-keys thor-directory thor-router thor-proxy thor-testnet thor-chatgpt

# What building needs, and what the tests need besides.
BUILD_PACKAGES := libsodium-dev libsqlite3-dev libc-ares-dev pkg-config
BENCH_PACKAGES := tor openssh-client openssh-server microsocks iproute2 python3 gcc libc6-dev
TEST_PACKAGES := curl openssl procps python3 python3-venv iproute2
PROGRAM_PACKAGES := curl wget git openssh-client openssh-server rsync nginx-light netcat-openbsd ncat socat connect-proxy \
	proxychains4 torsocks tor default-jre-headless chromium iproute2 util-linux
PROGRAM_MODULES := openai 'httpx[socks,http2]' requests PySocks aiohttp aiohttp_socks python-socks websockets
CHECKED := --explicit-target-dependency-import-check error
PYTHON := .build/python/bin/python3
SOURCES := Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources

.PHONY: demo build test test-swift test-end-to-end test-full test-programs bench bench-parts attack faults check mutants timing fuzz format lint docs install install-programs install-units packages test-packages clean

demo: build
	@exec .build/release/thor-testnet

build: packages
	swift build -c release --static-swift-stdlib $(CHECKED)

packages:
	@.ci/packages $(BUILD_PACKAGES)

test-packages:
	@.ci/packages $(BUILD_PACKAGES) $(TEST_PACKAGES)

test: test-packages test-swift test-end-to-end

test-swift: test-packages
	swift build --build-tests $(CHECKED)
	swift test --skip-build

test-end-to-end: test-packages build $(PYTHON)
	THOR_E2E_PYTHON=$(PYTHON) python3 Tests/EndToEnd/run.py

# The figures that the project promises: a gigabyte each way, 200 downloads, 5,000 requests.
test-full: test-packages build $(PYTHON)
	THOR_E2E_PYTHON=$(PYTHON) python3 Tests/EndToEnd/run.py --full

# Real programs and raw sockets, ten minutes: PROGRAMS="--group curl" for a part, PROGRAMS=--full for the sizes that the
# project promises. A program that cannot be installed is left out, and named in the table.
test-programs: test-packages build $(PYTHON)
	@for package in $(PROGRAM_PACKAGES); do .ci/packages $$package || echo "test-programs: goes on without $$package"; done
	@for module in $(PROGRAM_MODULES); do .build/python/bin/pip install --quiet --disable-pip-version-check "$$module" || \
		echo "test-programs: goes on without $$module"; done
	$(PYTHON) Tests/RealPrograms/run.py $(PROGRAMS)

# The whole comparison, about half an hour: BENCH="--runs 1 --size 128" for a quick look. A peer that is not installed
# is left out. The table goes to Benchmarks/results.
bench: build
	@for package in $(BENCH_PACKAGES); do .ci/packages $$package || echo "bench: goes on without $$package"; done
	swift build --package-path Benchmarks -c release
	python3 Benchmarks/bench.py $(BENCH)

# The parts of each layer: time and allocations; then the allocations of a running network.
bench-parts: build
	swift build --package-path Benchmarks -c release
	Benchmarks/.build/release/onion-bench
	python3 Benchmarks/allocations.py

# The official openai package, for examples/chatgpt.py. Without PyPI that one test is left out.
$(PYTHON):
	@mkdir -p .build && python3 -m venv .build/python
	@.build/python/bin/pip install --quiet --disable-pip-version-check openai 'httpx[socks]' || \
		echo "openai could not be installed: examples/chatgpt.py is not tested"

# All attacks, some eight minutes: ATTACK="cell exit-rebinding" for a family and one more, ATTACK=--list for what there is.
attack: build
	@exec .build/release/thor-testnet attack $(ATTACK)

# A quarter of an hour. THOR_FAULT_SEEDS=10000 for more; a seed that fails prints itself, and how to play it alone.
faults: export THOR_FAULT_SEEDS ?= 3000
faults: test-packages
	swift build --build-tests $(CHECKED)
	swift test --skip-build --filter FaultSimulationTests

# The sanitizers change every object file, so each has a build of its own, a quarter of an hour. What the thread sanitizer
# reports and is no race is in Tests/Sanitizers, each with its reason. The C target is run under the undefined-behaviour
# sanitizer as well.
check: packages
	Tests/Sanitizers/run.sh

# A build of its own, and an hour or more of tests: MUTANTS="--only OnionCells" for a part. One that was stopped goes on.
mutants: packages
	python3 Tests/Mutants/run.py $(MUTANTS)

# dudect's method on the layer cipher, comparisons and the circuit handshake, some three minutes. Wants a quiet machine.
timing: packages
	swift build --package-path Benchmarks -c release --product onion-timing
	Benchmarks/.build/release/onion-timing $(TIMING)

fuzz: packages
	Tests/Fuzz/run.sh $(INPUTS)

format:
	swift format -i -r $(SOURCES)

lint:
	swift format lint --strict -r $(SOURCES)

docs:
	docc convert Docs/Onion.docc --warnings-as-errors --fallback-display-name Onion \
		--fallback-bundle-identifier org.thor.onion --output-path .build/docs

# DESTDIR is put before every path, for who makes a package.
install: install-programs install-units
	@echo
	@echo "Installed. What next:"
	@echo "    sudo systemd-sysusers; sudo systemctl daemon-reload"
	@echo "    then the directory server, a router or the proxy: Docs/Onion.docc/Operating.md, \"With systemd\""
	@echo "    (a file of options for each is in $(CONFDIR))"

# Builds nothing: root, who installs, needs no compiler, and would leave files behind that only root can replace.
install-programs:
	@for program in $(PROGRAMS_TO_INSTALL); do test -x .build/release/$$program || { \
		echo "install: there is no .build/release/$$program: run 'make build' first, as yourself" >&2; exit 1; }; done
	install -d $(DESTDIR)$(PREFIX)/bin
	install -s -m 755 $(addprefix .build/release/,$(PROGRAMS_TO_INSTALL)) $(DESTDIR)$(PREFIX)/bin

# A file of options that is there stays as it is.
install-units:
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR) $(DESTDIR)$(CONFDIR)
	for unit in directory router proxy; do \
		sed 's|/usr/local/bin|$(PREFIX)/bin|' systemd/thor-$$unit.service > $(DESTDIR)$(UNITDIR)/thor-$$unit.service && \
		{ test -e $(DESTDIR)$(CONFDIR)/$$unit.conf || \
			install -m 644 systemd/$$unit.conf $(DESTDIR)$(CONFDIR)/$$unit.conf; } || exit 1; \
	done
	install -m 644 systemd/thor.sysusers $(DESTDIR)$(SYSUSERSDIR)/thor.conf

clean:
	rm -rf .build .build-thread .build-address Tests/Fuzz/.build Benchmarks/.build
