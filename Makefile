# `make demo` shows the main job, `make test` passes every test. Both install what they need.

VENV ?= .venv
PYTHON := $(VENV)/bin/python
MEASURED ?= $(VENV)/measured.jsonl
FUZZED ?= $(VENV)/fuzz
# Of `make bench`: what is given of these is less, or more, than it measures by itself.
BENCH = $(foreach name,ROUNDS MEMORY CASES EXCLUDED EXCLUDED_MEMORY LIVE_MEMORY PACK_MEMORY,\
	$(if $($(name)),--$(subst _,-,$(shell echo $(name) | tr A-Z a-z)) '$($(name))'))
# What takes long and shows more of the same is for `make test-all`.
SCOPE ?= -m "not long"
FAULTS := $(addprefix tests/e2e/test_,faults.py other_version.py scrub.py starts.py stash.py)

.PHONY: demo test test-all test-e2e test-faults test-guest test-unit test-hm test-packages unit lint \
	prepare fuzz endurance soak bench bench-again deb dist docs pictures

demo: prepare
	$(PYTHON) -m tools.demo

# Those under VirtualBox keep one CPU busy, the others mostly wait: side by side they take half as long.
test: lint
	$(VENV)/bin/sparc-lab build
	$(MAKE) --jobs 2 --keep-going --output-sync=target test-e2e test-guest test-faults test-unit

# Every kernel, size, way and fault: hours.
test-all:
	SPARC_COLLECTOR_ROUNDS=5 SPARC_TORTURE_RUNS=2,1,100 $(MAKE) test SCOPE=

test-e2e:
	$(PYTHON) -m pytest $(SCOPE) tests/e2e $(FAULTS:%=--ignore=%)

# The rest of tests/e2e: whoever of the first two is done goes on with it. And one checkpoint as
# VirtualBox runs for users; `make test-hm` has more of these.
test-faults:
	$(PYTHON) -m pytest $(SCOPE) $(FAULTS) tests/hm/test_one_checkpoint.py

test-guest:
	$(PYTHON) -m pytest $(SCOPE) tests/guest

test-unit:
	$(PYTHON) -m pytest $(SCOPE) tests/unit tests/fuzz

# VirtualBox as users run it, with its kernel module and AMD-V.
test-hm: prepare
	$(PYTHON) -m pytest tests/hm

unit: prepare
	$(PYTHON) -m pytest tests/unit

lint: prepare
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# 100,000 lying files and 100,000 lying guests; about an hour on two cores that have nothing else.
fuzz: prepare
	$(PYTHON) -m tools.bench.fuzz --count 100000
	$(MAKE) -C host_service/extpack OUT=$(abspath $(FUZZED)) fuzz-binary
	$(FUZZED)/fuzz 1 100000

# 50 checkpoints of one machine, and 20 restores of each kind: about an hour.
endurance: prepare
	SPARC_ENDURANCE=50,20 $(PYTHON) -m pytest tests/e2e/test_endurance.py --timeout 7200
	SPARC_TORTURE_RUNS=5,20,1000 $(PYTHON) -m pytest tests/e2e/test_torture.py --timeout 7200

# Two hours in which everything may happen.
soak: prepare
	$(PYTHON) -m tests.soak --minutes 120

# Checkpoints with sparc and without: hours, on a machine that has nothing else to do. What was
# measured stays in MEASURED and is on the page, and a run that was interrupted goes on from there;
# `make bench-again` begins anew. Less: make bench MEMORY=512,1024 ROUNDS=3 EXCLUDED=1,64
bench: prepare
	$(PYTHON) -m tools.bench.files --out $(MEASURED) && \
		$(PYTHON) -m tools.bench.guest_side --out $(MEASURED) && \
		$(PYTHON) -m tools.bench.checkpoints --out $(MEASURED) $(BENCH) && \
		$(PYTHON) -m tools.bench.engines --out $(MEASURED); \
		measured=$$?; $(PYTHON) -m tools.bench.performance $(if $(REMARK),--remark "$(REMARK)") $(MEASURED) && exit $$measured

bench-again:
	rm -f $(MEASURED)
	$(MAKE) bench

# The documentation as a site, in build/docs/; tests/unit/test_docs.py does the same.
docs: prepare
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# The pictures in it, taken of the real thing: ten minutes.
pictures: prepare
	$(PYTHON) -m tools.docs.pictures

# Debian's packages, and Python's, into dist/; VERSION=... makes another one than the sources say.
deb dist:
	tools/package $@ dist $(VERSION)

# Installs, upgrades and removes them in trees of Debian 12 and sid, and in guests with their kernels.
test-packages: prepare
	$(PYTHON) -m pytest tests/packages

prepare: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml tools/lab/setup.cfg tools/prepare
	tools/prepare $(VENV)
	touch $@
