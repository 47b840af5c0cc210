//! The transactional producer of the simulated log: the table in `src/log/kafka/producer.rs`, over the simulated brokers.

use lastseen::log::{CommitOutcome, LogError, Transaction};

use super::broken::Broken;
use super::cluster::Refusal;
use super::member::SimLog;

fn error(action: &str, words: impl std::fmt::Debug) -> LogError {
    LogError::retriable(action, format!("{words:?}"))
}

impl SimLog {
    fn id(&self) -> String {
        format!("lastseen-{}", self.settings.instance)
    }

    /// Makes a producer if there is none.
    pub(super) fn ensure(&mut self) -> Result<(), LogError> {
        if self.epoch.is_some() {
            return Ok(());
        }
        let id = self.id();
        let until = self.host.now() + self.settings.request_timeout;
        loop {
            self.host.site("init")?;
            let answer = self.host.cluster().init(&id, self.settings.transaction_timeout);
            match answer {
                Ok(epoch) => {
                    self.epoch = Some(epoch);
                    self.unresolved = false;
                    return Ok(());
                }
                Err(refusal) if self.host.now() >= until => return Err(error("registering", refusal)),
                Err(_) => self.wait(5),
            }
        }
    }

    /// Completes a commit whose outcome is unknown, if that is still to do.
    pub(super) fn resolve(&mut self) {
        if self.unresolved && self.ensure().is_err() {
            self.host.note(|| "the outcome is not settled yet".into());
        }
    }

    pub(super) fn transact(&mut self, transaction: &Transaction) -> CommitOutcome {
        if transaction.offsets.is_empty() {
            return CommitOutcome::Aborted(LogError::fatal("committing", "no offsets"));
        }
        if transaction.offsets.iter().any(|(partition, ..)| !self.owns(*partition)) {
            return CommitOutcome::Lost(error("committing", "not ours"));
        }
        let Some(membership) = self.membership() else {
            self.lose();
            return CommitOutcome::Lost(error("committing", "not in the group"));
        };
        let outcome = self.attempt(transaction, membership).err().unwrap_or(CommitOutcome::Committed);
        let outcome = self.mistaken(outcome);
        if matches!(outcome, CommitOutcome::Lost(_)) {
            self.lose();
        }
        outcome
    }

    fn attempt(&mut self, transaction: &Transaction, membership: (u64, i32)) -> Result<(), CommitOutcome> {
        self.ensure().map_err(CommitOutcome::Aborted)?;
        let Some(epoch) = self.epoch else {
            return Err(CommitOutcome::Aborted(error("committing", "no producer")));
        };
        let id = self.id();
        let until = self.host.now() + self.settings.transaction_timeout;
        self.failed = false;
        for (count, record) in transaction.records.iter().enumerate() {
            // Every record of a small transaction is a place to crash; of a large one some are.
            if count < 4 || count % 16 == 0 {
                self.host.site("produce").map_err(|lost| self.abort(lost))?;
            }
            loop {
                let answer = self.host.cluster().produce(&id, epoch, record);
                match answer {
                    Ok(_) => break,
                    Err(Refusal::Fenced) => return Err(self.fenced(false)),
                    Err(Refusal::Concurrent) if self.host.now() < until => self.wait(3),
                    Err(refusal) => return Err(self.abort(error("producing", refusal))),
                }
            }
        }
        let membership = (!self.is(Broken::GenerationIsNotSent)).then_some(membership);
        let leaves_out = self.is(Broken::NoOffsetsWhereNothingWasConsumed);
        let offsets: Vec<_> = transaction
            .offsets
            .iter()
            .filter(|(p, positions, _)| !leaves_out || self.last_offsets.get(p) != Some(positions))
            .cloned()
            .collect();
        if !offsets.is_empty() {
            self.host.site("offsets").map_err(|lost| self.abort(lost))?;
            loop {
                let answer = self.host.cluster().add_offsets(&id, epoch, membership, &offsets);
                match answer {
                    Ok(()) => break,
                    Err(Refusal::Fenced) => return Err(self.fenced(false)),
                    Err(Refusal::Generation) => {
                        return Err(match self.abort(error("adding offsets", Refusal::Generation)) {
                            CommitOutcome::Aborted(error) => CommitOutcome::Lost(error),
                            other => other,
                        });
                    }
                    Err(Refusal::Concurrent) if self.host.now() < until => self.wait(3),
                    Err(refusal) => return Err(self.abort(error("adding offsets", refusal))),
                }
            }
        }
        self.host.site("end").map_err(|lost| self.unknown(lost))?;
        let answer = self.host.cluster().end(&id, epoch, true);
        match answer {
            // Decided already: asked a second time.
            Ok(()) | Err(Refusal::Concurrent) => {}
            Err(_) => return Err(self.fenced(true)),
        }
        self.host.site("ended").map_err(|lost| self.unknown(lost))?;
        for (partition, positions, _) in &transaction.offsets {
            self.last_offsets.insert(*partition, *positions);
        }
        Ok(())
    }

    /// The coordinator has another epoch: this producer is over. The next one is made when it is needed.
    fn fenced(&mut self, asked: bool) -> CommitOutcome {
        self.epoch = None;
        if asked {
            self.unresolved = true;
            return CommitOutcome::Unknown(error("committing", "fenced"));
        }
        CommitOutcome::Lost(error("committing", "fenced"))
    }

    /// The end was asked for, and nobody answered: the next producer settles it.
    fn unknown(&mut self, lost: LogError) -> CommitOutcome {
        self.epoch = None;
        self.unresolved = true;
        self.resolve();
        CommitOutcome::Unknown(lost)
    }

    /// Aborts; where that does not work drops the producer, which then cannot commit any more either.
    fn abort(&mut self, why: LogError) -> CommitOutcome {
        let id = self.id();
        let Some(epoch) = self.epoch else { return CommitOutcome::Aborted(why) };
        if self.host.site("abort").is_err() {
            self.epoch = None;
            return CommitOutcome::Aborted(why);
        }
        let answer = self.host.cluster().end(&id, epoch, false);
        match answer {
            Ok(()) | Err(Refusal::Concurrent) => CommitOutcome::Aborted(why),
            Err(_) => {
                self.epoch = None;
                CommitOutcome::Lost(why)
            }
        }
    }

    /// What a broken variant makes of an outcome.
    fn mistaken(&mut self, outcome: CommitOutcome) -> CommitOutcome {
        match (outcome, self.settings.broken) {
            (CommitOutcome::Unknown(_), Some(Broken::UnknownIsCommitted)) => CommitOutcome::Committed,
            (CommitOutcome::Unknown(error), Some(Broken::UnknownIsAborted)) => CommitOutcome::Aborted(error),
            (CommitOutcome::Aborted(_), Some(Broken::PromotedWithoutACommit)) => CommitOutcome::Committed,
            (outcome, _) => outcome,
        }
    }
}
