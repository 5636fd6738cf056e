# A thin front on meson: every target is a few meson or ninja commands, shown as they run.
# Variables: BUILD (build directory), PREFIX and DESTDIR (install), CC, JOBS.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?=
DEMO    ?= tools/demo
BENCH   ?=
FUZZ    ?=
FUZZ_SECONDS ?= 600
ROUNDS  ?= 200
SEED    ?=
REPLAY  ?=

NINJA     = ninja $(if $(JOBS),-j$(JOBS))
RUN_TESTS = tools/run-tests
# What needs no PostgreSQL and no other process than the test itself.
QUICK     = --suite house --suite unit --suite corpus --suite scenario --suite sim
C_FILES   = find src tests -name '*.[ch]' | LC_ALL=C sort

.PHONY: all deps demo demo-check bench test test-quick soak soak-model soak-fuzz soak-faults lint sanitize clang valgrind install clean
.DEFAULT_GOAL := all
.NOTPARALLEL: # deps come before the build; ninja and meson spread the work by themselves

# The agent finds holdfast-guard beside its own executable, so both are copied to one place. A build
# directory of another user's is used as it stands.
all: $(BUILD)/build.ninja
	@if [ ! -w $(BUILD) ]; then \
	    echo '$(BUILD) belongs to another user: not built again'; \
	    test -x $(BUILD)/holdfast -a -x $(BUILD)/holdfast-guard; exit; \
	fi; \
	echo "$(NINJA) -C $(BUILD)"; $(NINJA) -C $(BUILD) || exit; \
	for program in main/holdfast guard/holdfast-guard; do \
	    built=$(BUILD)/src/$$program; placed=$(BUILD)/$${program##*/}; \
	    if [ -x $$built ] && ! cmp -s $$built $$placed; then \
	        install -m 755 $$built $$placed; echo "placed $$placed"; \
	    fi; \
	done

$(BUILD)/build.ninja:
	@tools/deps.sh --check
	meson setup --prefix '$(PREFIX)' $(BUILD)

deps:
	@tools/deps.sh

demo: deps all
	$(DEMO)

demo-check: deps all
	$(DEMO) --check

# As root. BENCH: its options, as in `make bench BENCH='--only switchover --runs 5'`.
bench: deps all
	/usr/bin/python3 tests/bench/bench.py --build $(BUILD) $(BENCH)

test: deps all
	@$(RUN_TESTS) $(BUILD)

test-quick: all
	@$(RUN_TESTS) $(BUILD) $(QUICK)

# New seeds of the simulator without end, on all cores; the first failure is shrunk and kept.
soak: all
	tests/sim/soak.py $(BUILD)/tests/sim/sim

# The model's long searches as well: hours, and up to 6 GB.
soak-model: deps
	tests/model/run.py --soak

# FUZZ_SECONDS for each fuzzer (FUZZ: their names; all without); what is learnt joins the corpora.
soak-fuzz: $(BUILD)/build.ninja
	@tools/deps.sh
	$(NINJA) -C $(BUILD) tests/fuzz/fuzzer
	nice tests/fuzz/run.py $(BUILD)/tests/fuzz/fuzzer tests/fuzz/corpus --soak $(FUZZ_SECONDS) $(FUZZ)

# As root. Random faults on a real cluster: ROUNDS of them, from SEED, or as REPLAY has recorded them.
soak-faults: deps all
	tests/faults/soak.py --build $(BUILD) --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) \
	    $(if $(REPLAY),--replay $(REPLAY))

lint: build-clang/build.ninja
	@ninja -C build-clang build.ninja >/dev/null # new files are in its compile commands
	@echo 'lint: clang-format'
	@$(C_FILES) | xargs -r clang-format --dry-run -Werror
	@echo 'lint: clang-tidy'
	@find src tests -name '*.c' | LC_ALL=C sort | \
	    xargs -r -n 1 -P "$$(nproc)" tools/lint-tidy build-clang
	@echo 'lint: cppcheck' # it does not know AUTO_FREE: leaks are sanitizers' and valgrind's
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --language=c \
	    --enable=warning,performance,portability --suppress=missingIncludeSystem \
	    --suppress=memleak \
	    -D_GNU_SOURCE -D__linux__ -j "$$(nproc)" -I src src
	@tools/check-layers . && tools/check-house .
	@echo 'lint: clean'

build-clang/build.ninja:
	@tools/deps.sh lint
	CC=clang meson setup build-clang

clang: build-clang/build.ninja
	$(NINJA) -C build-clang
	@$(RUN_TESTS) build-clang $(QUICK)

build-sanitize/build.ninja:
	@tools/deps.sh --check
	meson setup -Db_sanitize=address,undefined -Db_lundef=false build-sanitize

sanitize: build-sanitize/build.ninja
	$(NINJA) -C build-sanitize
	@$(RUN_TESTS) build-sanitize $(QUICK)

valgrind: $(BUILD)/build.ninja
	@tools/deps.sh lint
	$(NINJA) -C $(BUILD)
	@$(RUN_TESTS) $(BUILD) --setup valgrind --suite unit

install: all
	meson configure $(BUILD) -Dprefix='$(PREFIX)'
	DESTDIR='$(DESTDIR)' meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-clang build-sanitize
