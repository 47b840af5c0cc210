# `make help` says what there is.
.DEFAULT_GOAL := help
.PHONY: help demo test bench micro listing simulate chaos latency backlog fmt
.NOTPARALLEL:

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

help:
	@echo "make demo    builds Lastseen and runs all of it in one process, with a simulated fleet"
	@echo "             DEVICES=500  SPEED=10  ARGS='…' (further arguments; ARGS=--help lists them)"
	@echo "make test    everything: format, build, clippy, tests, docs, fuzz-smoke, the page in a real browser, other vendors' clients, what it is measured against, a small benchmark, a real Kafka"
	@echo "             STAGES='fmt clippy' runs some of the stages; KAFKA_BROKERS=host:port uses that cluster"
	@echo "make bench   Lastseen against applications of Kafka Streams and Flink that do the same job, and against the limits: one report"
	@echo "             QUICK=1 a small one  DEVICES=1000000  ROUNDS=3  LIVE=1000000  CPUS=0-1  PEERS=flink only that one  PEER=FILE settings of the peers"
	@echo "make micro   parts of Lastseen by themselves: fold, decode, query, …  (ARGS='…': a filter and further arguments)"
	@echo "make listing  the whole fleet listed by other vendors' clients, and what that costs the service in memory"
	@echo "             DEVICES=1000000 (default 100000)"
	@echo "make simulate  the whole processor over brokers, disks and clocks that misbehave, from seeds"
	@echo "             SEEDS=10000 so many (default 1000)  FROM=5000 from this one on  SEED=7 only this one  KIND=leaping clocks"
	@echo "make chaos   three real processes on a real Kafka that are killed, stopped and moved, and the broker too"
	@echo "             MINUTES=30 for so long (default 10)  SEED=7 the faults of that seed again"
	@echo "make latency  on a real Kafka: commit latency, throughput, recovery time"
	@echo "             DEVICES=1000000 (default 100000)"
	@echo "make backlog  on a real Kafka: memory under a backlog of which one device has half"
	@echo "             RECORDS=10000000 (default 4000000)"
	@echo "make fmt     formats the sources"
	@echo "demo, test, bench and micro install what is missing (deploy/setup.sh) and say so; cargo alone works once it is there."

demo:
	@deploy/setup.sh
	cargo run --locked -- demo $(if $(DEVICES),--devices $(DEVICES)) $(if $(SPEED),--speed $(SPEED)) $(ARGS)

test:
	@tests/run $(STAGES)

# The profile of the tests, so that RocksDB and librdkafka are not compiled a second time (Cargo.toml). On a Kafka of its own;
# benches/README.md says what the variables and the figures mean.
fast = --profile dev --config profile.dev.package.lastseen.opt-level=3

bench:
	@deploy/setup.sh --with-kafka
	QUICK=$(QUICK) DEVICES=$(DEVICES) ROUNDS=$(ROUNDS) LIVE=$(LIVE) RATES="$(RATES)" CPUS=$(CPUS) PEERS="$(PEERS)" \
	  PEER=$(PEER) SEED=$(SEED) cargo bench --locked $(fast) --bench compare

micro:
	@deploy/setup.sh
	cargo bench --locked $(fast) $(foreach name,decode faces fold query recovery replay row view,--bench $(name)) $(if $(ARGS),-- $(ARGS))

listing:
	@deploy/setup.sh --with-sdks
	LISTING=1 DEVICES=$(or $(DEVICES),100000) SDK_PYTHON="$$(tests/sdk/fetch | tail -1)" SDK_NODE="$$(tests/sdk/fetch node | tail -1)" \
	  cargo bench --locked $(fast) --bench faces

# Without RocksDB and librdkafka: neither has a part in it.
simulate:
	SEEDS=$(or $(SEEDS),1000) FROM=$(FROM) SEED=$(SEED) KIND=$(KIND) cargo test --locked --no-default-features \
	  --config profile.dev.package.lastseen.opt-level=3 --test it -- sim::any_seed_holds --exact --nocapture

# On a Kafka of their own: the broker is killed, too.
chaos:
	@deploy/setup.sh --with-kafka
	MINUTES=$(or $(MINUTES),10) SEED=$(SEED) cargo test --locked --test it -- \
	  kafka::chaos::what_is_published_under_fire_is_what_fold_says --exact --nocapture

latency:
	@deploy/setup.sh --with-kafka
	DEVICES=$(or $(DEVICES),100000) cargo test --locked --test it -- \
	  kafka::latency::commits_and_recovery_are_measured --exact --nocapture

backlog:
	@deploy/setup.sh --with-kafka
	RECORDS=$(or $(RECORDS),4000000) cargo test --locked --test it -- \
	  kafka::bounded::a_backlog_and_a_device_with_half_of_it_cost_no_memory --exact --nocapture

fmt:
	cargo fmt
