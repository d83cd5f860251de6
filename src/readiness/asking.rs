//! Asks the sources for a scan: where rows of replicas answer, and where the services must.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Purpose, Source,
    evidence::{Answer, By, Evidence, Finding, RowTerms},
    replica::{
        Mode, Replica, StoredFacts, StoredRow,
        rule::{self, Present},
        store::Held,
    },
    service::Heard,
};
use crate::{
    label::{Candidates, Serial},
    runtime::{clock::Boot, machine, name::Name},
};

/// So long before the deadline a row takes the place of an answer that has not come.
const BEFORE_DEADLINE: Duration = Duration::from_millis(100);
/// A disk that does not give a row within this time does not answer: the service is asked.
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// Asks `sources` about the candidates of a scan. `outside`: the sources that only may object. `hand` is given each answer, and the
/// service's own behind a row that took its place.
pub async fn ask_for_scan(
    sources: &[Source],
    outside: &BTreeSet<Name>,
    candidates: &Candidates,
    terms: &RowTerms,
    hand: impl Fn(Answer) + Clone + Send + Sync + 'static,
) {
    let asked = |source: &&Source| {
        let again = terms.again.as_ref();
        again.is_none_or(|again| again.contains(source.name()))
    };
    let live = |source: &Source| {
        let (source, candidates) = (source.clone(), candidates.clone());
        let (terms, hand) = (terms.clone(), hand.clone());
        tokio::spawn(async move { source.ask_live(&candidates, &terms, hand).await });
    };
    let (at_once, others): (Vec<&Source>, Vec<&Source>) = sources
        .iter()
        .filter(asked)
        .partition(|source| terms.again.is_none() && source.answers_at_once());
    others.into_iter().for_each(live);
    if at_once.is_empty() {
        return;
    }
    // A source outside `require` is not waited for, so its row must have nothing against a green.
    let mut objected = false;
    for source in sources.iter().filter(|one| outside.contains(one.name())) {
        if source.shared.replica.is_some() {
            objected |= source.row(candidates, terms, By::Row).await.is_none();
        }
    }
    for source in at_once {
        match source.row(candidates, terms, By::Row).await {
            Some(row) if !objected => hand(row),
            _ => live(source),
        }
    }
}

/// Asks about a box for whose lamp nobody waits: the rows speak for the services that have them, the other services are asked.
pub fn ask_by_rows(
    sources: &[Source],
    candidates: &Candidates,
    terms: &RowTerms,
    hand: impl Fn(Answer) + Clone + Send + Sync + 'static,
) {
    for source in sources {
        let (source, candidates) = (source.clone(), candidates.clone());
        let (terms, hand) = (terms.clone(), hand.clone());
        tokio::spawn(async move {
            hand(match source.word(&candidates, &terms).await {
                Some(word) => word,
                None => source.ask(&candidates, Purpose::Recheck).await,
            });
        });
    }
}

impl Source {
    /// Do its rows answer at once? Not while its last contact shows that the credential, the network or the answers are wrong.
    fn answers_at_once(&self) -> bool {
        let mode = self
            .shared
            .replica
            .as_ref()
            .map(|replica| replica.settings.mode);
        mode == Some(Mode::First) && self.shared.last_fault().is_none_or(rule::leaves_its_place)
    }

    /// Asks the service; a row takes its place where it cannot answer.
    async fn ask_live(&self, candidates: &Candidates, terms: &RowTerms, hand: impl Fn(Answer)) {
        let left = terms.deadline.since(Boot::now());
        let patience = left.saturating_sub(BEFORE_DEADLINE);
        if self.shared.kind.is_list_only() {
            let word = self.ask_pass(candidates, Purpose::Scan, patience);
            return hand(word.await);
        }
        let heard = Heard::default();
        let ask = self.ask_and_note(candidates, Purpose::Scan, &heard);
        if self.shared.replica.is_none() {
            return hand(ask.await);
        }
        let mut ask = pin!(ask);
        let row = || self.row(candidates, terms, By::Substitute);
        let failing = self.shared.keeper.health().borrow().failing;
        if failing.is_some_and(rule::leaves_its_place)
            && let Some(row) = row().await
        {
            hand(row);
            return hand(ask.await);
        }
        let at = Instant::now() + patience;
        tokio::select! {
            biased;
            answer = &mut ask => {
                let row = if rule::failed(&answer.evidence) { row().await } else { None };
                let row = row.filter(|row| rule::gave_way(&answer.evidence, &row.evidence));
                hand(row.unwrap_or(answer));
            }
            () = sleep_until(at) => {
                // A reply about this very box may say something else than its row.
                if let Some(row) = row().await
                    && heard.gives_way_to(&row.evidence)
                {
                    hand(row);
                }
                hand(ask.await);
            }
        }
    }

    /// What the rows say of the candidates, if that is good news of one of them and of no other.
    pub async fn row(&self, candidates: &Candidates, terms: &RowTerms, by: By) -> Option<Answer> {
        let begun = Instant::now();
        let rows = self.rows(candidates, terms).await?;
        let mut answering = 0;
        let mut evidence = Vec::new();
        for (serial, row) in candidates.iter().zip(rows) {
            match row {
                // For choosing between candidates it is not known; a finding is never taken from here.
                Row::Nothing => evidence.push(self.not_known(serial)),
                Row::Said {
                    evidence: said,
                    answers: true,
                } => {
                    answering += 1;
                    evidence.push(Evidence {
                        took: begun.elapsed(),
                        ..*said
                    });
                }
                Row::Said { .. } | Row::Doubted => return None,
            }
        }
        (answering == 1).then(|| Answer {
            source: self.shared.name.clone(),
            by,
            evidence,
        })
    }

    /// What the rows say of the candidates, good news or not; without a row, that the service does not know it. Nobody is told of it
    /// before the service has said it too. `None`: no complete pass is young enough, or a row is struck or damaged.
    pub async fn word(&self, candidates: &Candidates, terms: &RowTerms) -> Option<Answer> {
        if self.shared.kind.is_list_only() {
            let word = self.ask_pass(candidates, Purpose::Recheck, Duration::ZERO);
            return Some(word.await);
        }
        let service_now = self.shared.adapter.client().service_now();
        let replica = self.shared.replica.as_ref()?;
        if !replica.is_young(service_now) {
            return None;
        }
        let rows = self.rows(candidates, terms).await?;
        let said = candidates.iter().zip(rows).map(|(serial, row)| match row {
            Row::Nothing => Some(self.not_known(serial)),
            Row::Said { evidence, .. } => Some(*evidence),
            Row::Doubted => None,
        });
        Some(Answer {
            source: self.shared.name.clone(),
            by: By::Row,
            evidence: said.collect::<Option<_>>()?,
        })
    }

    pub(super) fn present(&self) -> Present {
        Present {
            boot_id: machine::boot_id(),
            boot: Boot::now(),
            service: self.shared.adapter.client().service_now(),
        }
    }

    fn not_known(&self, serial: &Serial) -> Evidence {
        let (name, kind) = (self.shared.name.clone(), self.shared.kind);
        let finding = Finding::No(kind.not_known());
        Evidence::bare(name, kind, serial.clone(), finding)
    }

    /// What the rows say of each candidate, good news or not. `None`: no row of this source answers.
    pub async fn rows(&self, candidates: &Candidates, terms: &RowTerms) -> Option<Vec<Row>> {
        let shared = &self.shared;
        let replica = shared.replica.as_ref()?;
        let listed = shared.adapter.listed()?;
        let serials: Vec<Serial> = candidates.iter().cloned().collect();
        let found = replica.look_up(&shared.name, serials, LONGEST_LOOK).await?;
        let now = self.present();
        let service = now
            .service
            .unwrap_or_else(|| found.facts.read_at.carried(now));
        let row = |(serial, held): (&Serial, Held)| {
            let rows = match held {
                Held::Nothing => return Row::Nothing,
                Held::Doubted => return Row::Doubted,
                Held::Rows(rows) => rows,
            };
            let age = oldest(&rows, &found.facts, now);
            let judged = listed.judge(serial, &rows, &found.facts, service);
            let finding = judged.judged(terms.allow_returned);
            let proves = shared.kind.proves();
            let too_weak = matches!(finding, Finding::Ready(grade) if grade < terms.min_grade)
                && proves.is_some_and(|live| live >= terms.min_grade);
            Row::Said {
                answers: !too_weak && rule::may_answer(finding, age, &replica.settings),
                evidence: Box::new(Evidence {
                    row_age: age,
                    ..judged
                }),
            }
        };
        Some(candidates.iter().zip(found.held).map(row).collect())
    }
}

/// What a replica says of one serial number.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// It has no row.
    Nothing,
    /// A newer live answer has struck it, or it is damaged.
    Doubted,
    Said {
        /// Its `row_age` is `None` where nobody can say how old the row is.
        evidence: Box<Evidence>,
        /// May it answer a scan?
        answers: bool,
    },
}

/// The age of the oldest that an answer rests on; `None`: nobody can say.
pub(super) fn oldest(rows: &[StoredRow], facts: &StoredFacts, now: Present) -> Option<Duration> {
    let ages = rows.iter().map(|row| row.read_at.age(now));
    ages.chain([facts.read_at.age(now)])
        .try_fold(Duration::ZERO, |oldest, age| Some(oldest.max(age?)))
}

impl Replica {
    /// `None`: nothing answers, or the disk takes longer than `longest`.
    pub(super) async fn look_up(
        &self,
        source: &Name,
        serials: Vec<Serial>,
        longest: Duration,
    ) -> Option<super::replica::store::Found> {
        let (store, credential, source) =
            (self.store.clone(), self.credential.clone(), source.clone());
        let look = tokio::task::spawn_blocking(move || {
            store.look_up(&source, &credential.read().ok()?, &serials)
        });
        timeout(longest, look).await.ok()?.ok()?
    }
}
