//! Kandji (being renamed Iru): an MDM that relays what Apple told it at its last fetch.
//!
//! Reads the ADE device list by serial number, the ADE tokens, and the device list where the first has no row:
//! <https://api-docs.kandji.io/>. A fetch from Apple cannot be ordered, only awaited.

mod examine;
mod finding;
mod listed;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    counted_list::CountedList,
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, QuotaHeaders, Reply, Request, below},
    keeper::Vitals,
    newest::{Known, Newest},
    service::{Adapter, Endpoint, Heard, Listed, NO_SERIAL, Pending, USER_AGENT, unanswered},
    token_client::TokenClient,
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
pub use finding::Policy;
use finding::{Records, Tokens};
pub use settings::Settings;
use wire::{Device, Row, Token};

const ADE_DEVICES: &str = "api/v1/integrations/apple/ade/devices";
const ADE_TOKENS: &str = "api/v1/integrations/apple/ade";
const DEVICES: &str = "api/v1/devices";

/// A filter that matches more rows than fit on this many pages is not a serial number.
const MAX_PAGES: u32 = 5;
/// The most that one call to the device list gives.
const DEVICES_LIMIT: usize = 300;

/// The names of the hourly quota; the one by the second is never the narrower one for a bench.
const QUOTA: QuotaHeaders = QuotaHeaders {
    left: "x-ratelimit-remaining-hour",
    limit: "x-ratelimit-limit-hour",
};

/// Which of the two means what differs even between the vendor's own tools.
const REFUSED: &str = "Kandji refused the API token, or the token lacks the permission for the ADE device list, the ADE integration list or the device list. \
    A token also disappears with the administrator who made it.";

/// One Kandji tenant.
struct Kandji {
    name: Name,
    base: Url,
    reads: TokenClient,
    policy: Policy,
    tokens: Newest<Token>,
    /// The ids of the records in the present pass that no code on a box can name. They count in the list's total.
    unasked: Mutex<HashSet<String>>,
}

impl Adapter for Kandji {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        Box::pin(self.ask(candidates, purpose, heard))
    }

    /// The token list and an empty look-up: both permissions that a scan needs, and the token list is fresh again.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(async {
            let (tokens, rows) = tokio::join!(self.fetch_tokens(Purpose::Scan), self.probe_rows());
            tokens.map(drop).and(rows.map(drop))
        })
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.reads.client
    }

    fn vitals(&self) -> Vitals {
        let Some(tokens) = self.tokens.kept() else {
            return Vitals::default();
        };
        let counted = self.policy.counted(&tokens.list);
        Vitals {
            as_of: finding::last_fetch(&counted),
            credential_days: finding::days_left(&counted, Some(tokens.now())),
            credential_expires: finding::expires(&counted),
            quota: None,
        }
    }

    fn refresh_in(&self) -> Option<Duration> {
        Some(self.tokens.refresh_in())
    }

    fn listed(&self) -> Option<&dyn Listed> {
        Some(self)
    }
}

impl Kandji {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        let allow = vec![
            Allowed::get(&to.url, ADE_DEVICES, &["serial_number", "page"]),
            Allowed::get(&to.url, ADE_TOKENS, &[]),
            Allowed::get(&to.url, DEVICES, &["serial_number", "limit"]),
        ];
        Ok(Self {
            reads: TokenClient {
                client: to.client(allow, USER_AGENT, Some(QUOTA))?,
                credential: settings.token,
                scheme: "Bearer",
                refused: REFUSED,
            },
            name: to.name,
            base: to.url,
            policy: settings.policy,
            tokens: Newest::default(),
            unasked: Mutex::default(),
        })
    }

    async fn ask(&self, candidates: &Candidates, purpose: Purpose, heard: &Heard) -> Vec<Evidence> {
        // The filter is a *contains*: the shorter candidate finds the rows of both.
        let shorter = candidates.stripped.as_ref().unwrap_or(&candidates.scanned);
        let (rows, tokens) = tokio::join!(
            self.rows(shorter.as_str(), purpose, heard),
            self.tokens(purpose)
        );
        let (rows, now) = match rows {
            Ok(read) => read,
            Err(fault) => {
                return candidates
                    .iter()
                    .map(|serial| self.unknown(serial, &fault))
                    .collect();
            }
        };
        let devices = if needs_devices(candidates, &rows) {
            self.devices(shorter.as_str(), purpose).await
        } else {
            Ok(Vec::new())
        };
        let records = Records {
            rows: &rows,
            now,
            tokens: tokens.as_ref().map(|tokens| Tokens {
                list: &tokens.list,
                now: Some(tokens.now()),
            }),
            devices: devices.as_deref(),
        };
        candidates
            .iter()
            .map(|serial| {
                let bare = Evidence {
                    heard: true,
                    ..self.bare(serial, Reason::GarbledAnswer)
                };
                finding::judge(bare, &records, &self.policy)
            })
            .collect()
    }

    /// A look-up that finds nothing.
    async fn probe_rows(&self) -> Result<(Vec<Row>, Option<Timestamp>), Fault> {
        let heard = Heard::default();
        self.rows(NO_SERIAL, Purpose::Scan, &heard).await
    }

    /// All rows that the filter gives, and the last page's `Date`. The pages are counted here: the `next` of a reply names another host.
    async fn rows(
        &self,
        filter: &str,
        purpose: Purpose,
        heard: &Heard,
    ) -> Result<(Vec<Row>, Option<Timestamp>), Fault> {
        let mut list = CountedList::new(wire::LIST);
        for page in 1..=MAX_PAGES {
            let mut url = below(&self.base, ADE_DEVICES);
            url.query_pairs_mut().append_pair("serial_number", filter);
            if page > 1 {
                url.query_pairs_mut().append_pair("page", &page.to_string());
            }
            let reply = self.get(url, purpose).await?;
            heard.note();
            if !reply.read(|page| list.take(page))? {
                let rows = reply.read(|_| wire::rows(&list, filter))?;
                return Ok((rows, Some(reply.date)));
            }
        }
        Err(Fault::with(
            Reason::GarbledAnswer,
            "Kandji lists more rows for this serial number than can be its own.",
        ))
    }

    async fn devices(&self, filter: &str, purpose: Purpose) -> Result<Vec<Device>, Fault> {
        let mut url = below(&self.base, DEVICES);
        url.query_pairs_mut()
            .append_pair("serial_number", filter)
            .append_pair("limit", &DEVICES_LIMIT.to_string());
        let reply = self.get(url, purpose).await?;
        let devices = reply.read(|list| wire::devices(list, filter))?;
        if devices.len() >= DEVICES_LIMIT {
            return Err(reply
                .garbled("Kandji lists more devices for this serial number than can be its own."));
        }
        Ok(devices)
    }

    async fn tokens(&self, purpose: Purpose) -> Result<Arc<Known<Token>>, Fault> {
        match self.tokens.kept() {
            Some(tokens) => Ok(tokens),
            None => self.fetch_tokens(purpose).await,
        }
    }

    async fn fetch_tokens(&self, purpose: Purpose) -> Result<Arc<Known<Token>>, Fault> {
        let read = async {
            let reply = self.get(below(&self.base, ADE_TOKENS), purpose).await?;
            Ok((reply.read(wire::tokens)?, reply.date))
        };
        self.tokens.read(read).await
    }

    async fn get(&self, url: Url, purpose: Purpose) -> Result<Reply, Fault> {
        Ok(self.reads.send(Request::get(url), purpose).await?)
    }

    fn bare(&self, serial: &Serial, reason: Reason) -> Evidence {
        Evidence::bare(
            self.name.clone(),
            SourceKind::Kandji,
            serial.clone(),
            Finding::Unknown(reason),
        )
    }

    fn unknown(&self, serial: &Serial, fault: &Fault) -> Evidence {
        unanswered(self.bare(serial, fault.reason), fault)
    }
}

/// What the bodies of Kandji's replies (ADE device list, ADE tokens, devices), all dated `now`, say about one serial number
/// where every token and blueprint counts.
#[cfg(any(test, fuzzing))]
pub fn judged(
    [rows, tokens, devices]: [&[u8]; 3],
    now: Option<Timestamp>,
    serial: &Serial,
    source: Name,
) -> Evidence {
    let evidence = Evidence::bare(
        source,
        SourceKind::Kandji,
        serial.clone(),
        Finding::Unknown(Reason::GarbledAnswer),
    );
    let garbled = Fault::bare(Reason::GarbledAnswer);
    let json = |body: &[u8]| super::http::json(body).ok_or(&garbled);
    let mut list = CountedList::new(wire::LIST);
    let whole = json(rows).is_ok_and(|page| list.take(&page) == Ok(false));
    let Some(rows) = wire::rows(&list, serial.as_str()).ok().filter(|_| whole) else {
        return evidence;
    };
    let tokens = json(tokens).and_then(|reply| wire::tokens(&reply).map_err(|_| &garbled));
    let devices = json(devices)
        .and_then(|reply| wire::devices(&reply, serial.as_str()).map_err(|_| &garbled));
    let records = Records {
        rows: &rows,
        now,
        tokens: tokens
            .as_ref()
            .map(|list| Tokens { list, now })
            .map_err(|fault| *fault),
        devices: devices.as_deref().map_err(|fault| *fault),
    };
    let policy = Policy {
        tokens: Vec::new(),
        max_fetch_age: Duration::from_hours(24),
        expected_blueprints: Vec::new(),
    };
    finding::judge(evidence, &records, &policy)
}

/// Is there a candidate without a row that may still be an enrolled device?
///
/// Not where the other candidate has a row and this one is it with `S` in front: the rule of candidates takes the known
/// one then, whatever is said of this one. So a label with its data identifier costs one request.
fn needs_devices(candidates: &Candidates, rows: &[Row]) -> bool {
    match &candidates.stripped {
        None => !finding::has_row(&candidates.scanned, rows),
        Some(stripped) => {
            let (scanned_known, stripped_known) = (
                finding::has_row(&candidates.scanned, rows),
                finding::has_row(stripped, rows),
            );
            !(stripped_known && (scanned_known || candidates.is_plain_with_s()))
        }
    }
}

#[cfg(test)]
mod tests;
