//! The transactional producer of a worker: begin, produce, offsets, commit; and what to make of every way in which that
//! can fail (DESIGN §3.3, `reference/engine.md` §1.4).
//!
//! | error | before the commit was asked for | after |
//! |---|---|---|
//! | retriable | the same call again, until the time is up: then abort | the same; then a new producer, **unknown** |
//! | wants an abort, by the group's fence | abort, **lost** | – |
//! | wants an abort | abort, **aborted** | abort, **aborted** if a record was not delivered, else **unknown** |
//! | fatal | producer dropped, **lost** | producer dropped, a new one, **unknown** |
//!
//! What was aborted must be gone before the next transaction begins: a broker that dies can forget to write the mark that
//! ends it in a partition (Apache Kafka 4.3.1 does, where its coordinator is up before the topics are known to it), and
//! then the next mark of this producer, a commit, would publish it. So after an abort the partitions must be stable.
//!
//! A new producer with the same transactional id ends what the old one left: `init_transactions` completes a commit that
//! was decided and aborts all else. It is made at once where the outcome hangs on it, else at the next commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header as RdHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::errors::Watch;
use super::native::{Group, LATEST, PartitionList, Txn, TxnError};
use super::scan::offsets_of;
use super::{KafkaConfig, creation};
use crate::log::{CommitOutcome, LogError, OutRecord, Topic};

/// Ends what it is asked to in bounded time: no call to librdkafka waits longer than this before time is looked at.
const SLICE: Duration = Duration::from_secs(5);

/// How long a commit waits for what was aborted before to be gone; then it is tried again, by who asked for it.
const SETTLE: Duration = Duration::from_secs(1);

/// What a producer's callbacks leave behind.
pub struct Reports {
    pub(super) watch: Watch,
    failed: Mutex<Option<(Code, String)>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        self.watch.log(level, facility, words);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            use rdkafka::Message;
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            if matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
                return; // an abort's doing
            }
            let words =
                format!("a record for {}, partition {}: {error}", message.topic(), message.partition());
            let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failed.get_or_insert((code, words));
        }
    }
}

type Native = ThreadedProducer<Reports>;

/// Makes a record as rdkafka wants it. A timestamp must be after 1970: Kafka's 0 means now, and less is refused.
pub fn base<'a, D: rdkafka::util::IntoOpaque>(
    name: &'a str,
    record: &'a OutRecord,
    opaque: D,
) -> BaseRecord<'a, [u8], [u8], D> {
    let mut out = BaseRecord::<[u8], [u8], D>::with_opaque_to(name, opaque)
        .partition(record.partition as i32)
        .timestamp(record.timestamp.millis().max(1));
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            headers = headers.insert(RdHeader { key: name, value: Some(value) });
        }
        out.headers = Some(headers);
    }
    out
}

/// Settings that both our producers start from.
pub const DEFAULTS: [(&str, &str); 9] = [
    ("linger.ms", "1"),
    ("compression.type", "lz4"),
    // The largest single record; batches stay within 1 MB, which is what topics take by default.
    ("message.max.bytes", "16777216"),
    ("batch.size", "1000000"),
    ("batch.num.messages", "100000"),
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "524288"),
    // AddOffsetsToTxn right after a commit meets CONCURRENT_TRANSACTIONS and waits this long: 107 ms a commit at the
    // default of 100, 15 ms at 1 (reference/broker.md §0).
    ("retry.backoff.ms", "1"),
    ("retry.backoff.max.ms", "100"),
];

/// The producer and how to make another one.
pub struct Transactor {
    config: KafkaConfig,
    producer: Option<Native>,
    /// The outcome of the last commit hangs on the next producer.
    unresolved: bool,
    /// The last transaction's commit was asked for.
    asked: bool,
    /// Where what was aborted stood, until it is seen that it is gone.
    aborted: BTreeSet<(Topic, u32)>,
}

impl Transactor {
    /// With a producer that has fenced its predecessors, if the brokers let it in time.
    pub fn open(config: &KafkaConfig) -> Result<Transactor, LogError> {
        let mut transactor = Transactor {
            config: config.clone(),
            producer: None,
            unresolved: false,
            asked: false,
            aborted: BTreeSet::new(),
        };
        transactor.ensure()?;
        Ok(transactor)
    }

    /// Makes a producer if there is none.
    fn ensure(&mut self) -> Result<(), LogError> {
        if self.producer.is_some() {
            return Ok(());
        }
        let action = format!("registering the transactional id {}", self.config.transactional_id());
        let ours = [
            ("transactional.id", self.config.transactional_id()),
            ("transaction.timeout.ms", self.config.transaction_timeout.as_millis().to_string()),
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("delivery.report.only.error", "true".to_owned()),
        ];
        let config = self.config.client("producer.", &DEFAULTS, &ours);
        let reports = Reports { watch: Watch::new(&self.config.brokers), failed: Mutex::new(None) };
        let producer: Native =
            config.create_with_context(reports).map_err(|error| creation(&action, &error))?;
        let until = Instant::now() + self.config.request_timeout;
        loop {
            let error = match txn(&producer).init(left(until)) {
                Ok(()) => break,
                Err(error) => error,
            };
            if !error.retriable || Instant::now() >= until {
                return Err(producer.context().watch.explain(action, error.code, &error.message));
            }
        }
        self.producer = Some(producer);
        self.unresolved = false;
        Ok(())
    }

    /// Before offsets are asked for: completes a commit whose outcome is unknown, if that is still to do. Where it
    /// fails the offsets are unstable until the coordinator has completed it, so that nothing wrong is read.
    pub fn resolve(&mut self) {
        if self.unresolved
            && let Err(error) = self.ensure()
        {
            tracing::warn!("{error}");
        }
    }

    /// One transaction. `offsets` names every input offset of the touched partitions.
    pub fn commit(&mut self, records: &[OutRecord], offsets: &PartitionList, group: &Group) -> CommitOutcome {
        let outcome = self.attempt(records, offsets, group).err().unwrap_or(CommitOutcome::Committed);
        // Who lost it after asking for the commit may have committed.
        let is_aborted = match outcome {
            CommitOutcome::Aborted(_) => true,
            CommitOutcome::Lost(_) => !self.asked,
            CommitOutcome::Committed | CommitOutcome::Unknown(_) => false,
        };
        if is_aborted {
            self.aborted.extend(records.iter().map(|record| (record.topic, record.partition)));
        }
        outcome
    }

    /// Waits until nothing that was aborted is left open.
    fn settle(&mut self) -> Result<(), LogError> {
        const ACTION: &str = "making sure that what was aborted is gone";
        let Some(producer) = &self.producer else { return Ok(()) };
        let until = Instant::now() + SETTLE;
        while let Some(&(topic, partition)) = self.aborted.first() {
            let name = self.config.topic(topic);
            let metadata = producer
                .client()
                .fetch_metadata(Some(name), self.config.request_timeout)
                .map_err(|error| {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                    producer.context().watch.explain(ACTION, code, &error.to_string())
                })?;
            let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            if (1..=partition as usize).contains(&partitions) {
                // Nothing was written where nothing is.
                self.aborted.pop_first();
                continue;
            }
            let ask = |committed| -> Result<u64, LogError> {
                let (client, watch) = (producer.client().native_ptr(), &producer.context().watch);
                Ok(offsets_of(client, watch, &self.config, &[(topic, partition)], LATEST, committed)?[0])
            };
            let end = ask(false)?;
            while ask(true)? < end {
                if Instant::now() >= until {
                    return Err(LogError::retriable(
                        ACTION,
                        format!(
                            "a transaction is still open in {name}, partition {partition}, below offset {end}; to write on \
                             could publish what was taken back. If this lasts, the brokers lost the mark of its end: \
                             stop this process, `kafka-transactions.sh find-hanging` finds it, `abort` ends it, then start"
                        ),
                    ));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            self.aborted.pop_first();
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        records: &[OutRecord],
        offsets: &PartitionList,
        group: &Group,
    ) -> Result<(), CommitOutcome> {
        self.asked = false;
        self.ensure().and_then(|()| self.settle()).map_err(CommitOutcome::Aborted)?;
        let Some(producer) = &self.producer else {
            return Err(CommitOutcome::Aborted(LogError::retriable("committing", "there is no producer")));
        };
        let until = Instant::now() + self.config.transaction_timeout;
        *failed(producer) = None;
        if let Err(error) = txn(producer).begin() {
            return Err(self.fail(error, "beginning a transaction", false));
        }
        if let Err(error) = self.produce(producer, records, until) {
            return Err(self.abort(&error.message).err().unwrap_or(CommitOutcome::Aborted(error)));
        }
        if let Err(error) =
            again(until, || txn(producer).send_offsets(offsets, group, left(until).min(SLICE)))
        {
            return Err(self.fail(error, "adding offsets to a transaction", false));
        }
        self.asked = true;
        // Beyond the transaction's time the coordinator aborts, but its answer may still be on the way.
        if let Err(error) = again(until + SLICE, || txn(producer).commit(SLICE)) {
            return Err(self.fail(error, "committing a transaction", true));
        }
        Ok(())
    }

    fn produce(&self, producer: &Native, records: &[OutRecord], until: Instant) -> Result<(), LogError> {
        for record in records {
            let mut next = base(self.config.topic(record.topic), record, ());
            while let Err((error, back)) = producer.send(next) {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                if code != Code::QueueFull || Instant::now() >= until {
                    let action = format!("writing to {}, partition {}", record.topic, record.partition);
                    return Err(producer.context().watch.explain(action, code, &error.to_string()));
                }
                std::thread::sleep(Duration::from_millis(1));
                next = back;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: TxnError, action: &str, asked: bool) -> CommitOutcome {
        let Some(producer) = &self.producer else {
            return CommitOutcome::Aborted(LogError::retriable(action, error.message));
        };
        // A failed delivery says more than the refusal that follows from it.
        let undelivered = failed(producer).take();
        let never_asked = !asked || undelivered.is_some();
        let (code, words) = undelivered.unwrap_or((error.code, error.message.clone()));
        let shown = producer.context().watch.explain(action, code, &words);
        if error.fatal || (!error.abort && !error.retriable) {
            // A producer that was fenced must not fence whoever did that: the next one is made when it is needed.
            self.producer = None;
            if !asked {
                return CommitOutcome::Lost(shown);
            }
            self.unresolved = true;
            if !matches!(error.code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) {
                self.resolve();
            }
            return CommitOutcome::Unknown(shown);
        }
        if asked && !error.abort {
            self.producer = None;
            self.unresolved = true;
            self.resolve();
            return CommitOutcome::Unknown(shown);
        }
        let fenced =
            matches!(error.code, Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId);
        match self.abort(&shown.message) {
            Ok(()) if fenced => CommitOutcome::Lost(shown),
            Ok(()) if never_asked => CommitOutcome::Aborted(shown),
            Ok(()) => CommitOutcome::Unknown(shown),
            Err(lost) => lost,
        }
    }

    /// Aborts; where that does not work drops the producer, which then cannot commit any more either.
    fn abort(&mut self, why: &str) -> Result<(), CommitOutcome> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let until = Instant::now() + self.config.transaction_timeout;
        let Err(error) = again(until, || txn(producer).abort(SLICE)) else { return Ok(()) };
        let shown = producer.context().watch.explain("aborting a transaction", error.code, &error.message);
        tracing::warn!("{shown}; it was aborted because: {why}");
        self.producer = None;
        if error.fatal {
            return Err(CommitOutcome::Lost(shown));
        }
        Ok(())
    }
}

fn txn(producer: &Native) -> Txn<'_> {
    Txn::of(producer.client().native_ptr())
}

fn failed(producer: &Native) -> std::sync::MutexGuard<'_, Option<(Code, String)>> {
    let reports: &Arc<Reports> = producer.context();
    reports.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

/// The same call again as long as it may go through and there is time.
fn again(until: Instant, mut call: impl FnMut() -> Result<(), TxnError>) -> Result<(), TxnError> {
    loop {
        match call() {
            Err(error) if error.retriable && Instant::now() < until => {
                tracing::debug!(target: "kafka", "{}: again", error.message);
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
