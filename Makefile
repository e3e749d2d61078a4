PREFIX ?= /usr/local
CARGO ?= cargo
# The executable to install. That of `make build` is built first, any other has to be there.
PROGRAM ?= target/release/gorget
# What stories are run with: the Guix that they are told with, and failures that show their messages.
# Two for each core at a time: they wait as long as they compute.
STORIES = root=$$(scripts/guix-root | tail -n 1) && [ -n "$$root" ] && RUST_BACKTRACE=0 \
  RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} GORGET_TEST_GUIX_ROOT=$$root
# Ignored stories that have targets of their own.
NOT_SLOW = --skip torture:: --skip siege:: --skip schedules::

.PHONY: help build test test-slow demo check parity bench fuzz torture simulate install deb dist clean

help:
	@echo 'make demo     evaluate a real Guix tree, move its branch, show the result; with SERVE=1 in a browser'
	@echo 'make test     set up what is missing, check the code, run all tests but the slowest'
	@echo 'make test-slow  run the stories that take minutes each'
	@echo 'make check    the quick part of that: format, lints, and whether it compiles'
	@echo 'make build    the optimised program, target/release/gorget'
	@echo 'make parity   compare every derivation with what Guix itself computes'
	@echo 'make bench    measure an evaluation against what Guix itself needs for it'
	@echo 'make fuzz     fuzz the parsers, longer than the tests do'
	@echo 'make torture  kill workers 10,000 times while they evaluate all of Guix, and run every hostile channel'
	@echo 'make simulate run 100,000 random schedules of a farm, with a crash in each'
	@echo 'make install  put the program, man pages, completions and systemd units below PREFIX ($(PREFIX))'
	@echo 'make deb      make a Debian package in target/debian'
	@echo 'make dist     make the tarball of a release in target/dist, with all crates'
	@echo 'make clean    remove what was built'

build:
	scripts/setup
	$(CARGO) build --release --locked

# The Guixes are fetched while everything is compiled. A test reads what Cargo knows of all packages,
# without network, so all are fetched.
test:
	scripts/setup test
	$(CARGO) fetch --locked --target "$$(rustc -vV | sed -n 's/host: //p')"
	$(CARGO) fmt --all --check
	mkdir -p target
	{ scripts/guix-root bullseye && scripts/guix-root; } > target/guix-roots.log 2>&1 & roots=$$!; \
	$(CARGO) test --locked --no-run && $(CARGO) clippy --locked --all-targets -- -D warnings && \
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib && \
	{ wait $$roots || { cat target/guix-roots.log; exit 1; }; }
	$(STORIES) $(CARGO) test --locked
	scripts/fuzz 20

# Stories that take minutes each. Run them before a release, and after a change to what they are about.
test-slow:
	scripts/setup test
	$(STORIES) $(CARGO) test --locked --test it -- --ignored $(NOT_SLOW)

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	! command -v cargo-deny >/dev/null || $(CARGO) deny --locked check bans licenses sources

demo: build
	scripts/demo $(if $(SERVE),--serve)

parity: build
	scripts/parity

bench: build
	scripts/setup bench
	scripts/bench

fuzz:
	scripts/setup test
	scripts/fuzz 1800

torture: build
	$(STORIES) $(CARGO) test --locked --release --test it -- --ignored --nocapture torture:: siege::

# Some of them, or one again: make simulate SCHEDULES=4711+1
simulate:
	scripts/setup test
	GORGET_TEST_SCHEDULES=$(SCHEDULES) $(CARGO) test --locked --release --test it -- --ignored --nocapture schedules::

# Packagers set DESTDIR.
install:
	[ '$(PROGRAM)' != target/release/gorget ] || $(CARGO) build --release --locked
	install -D -m 755 '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/gorget'
	rm -rf target/generated
	'$(PROGRAM)' generate target/generated
	install -d '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -m 644 target/generated/*.1 '$(DESTDIR)$(PREFIX)/share/man/man1'
	install -D -m 644 target/generated/gorget.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/gorget'
	install -D -m 644 target/generated/_gorget '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_gorget'
	install -D -m 644 guix/extensions/impact.scm '$(DESTDIR)$(PREFIX)/share/guix/extensions/impact.scm'
	install -D -m 644 target/generated/gorget.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/gorget.fish'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed 's|/usr/bin/gorget|$(PREFIX)/bin/gorget|' packaging/systemd/gorget.service > '$(DESTDIR)$(PREFIX)/lib/systemd/system/gorget.service'
	chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/gorget.service'
	install -m 644 packaging/systemd/gorget.socket '$(DESTDIR)$(PREFIX)/lib/systemd/system/gorget.socket'
	install -D -m 644 packaging/systemd/gorget.sysusers '$(DESTDIR)$(PREFIX)/lib/sysusers.d/gorget.conf'
	install -D -m 644 packaging/systemd/gorget.tmpfiles '$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/gorget.conf'

deb:
	scripts/setup deb
	scripts/deb target/debian

dist:
	scripts/dist target/dist

clean:
	$(CARGO) clean
