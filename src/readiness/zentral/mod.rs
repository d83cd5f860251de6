//! Zentral: an MDM that relays what Apple told it when it last read the changes of its list.
//!
//! One call, documented at <https://docs.zentral.io/en/latest/apps/mdm/>: the devices from Apple by their serial number. Apple sends
//! no event for a device that is released from the organisation, so the list may keep it, assigned, for ever.

mod examine;
mod finding;
mod settings;
#[cfg(feature = "simulate")]
pub mod simulator;
mod wire;

use jiff::Timestamp;
use url::Url;

use super::{
    Purpose,
    evidence::{Evidence, Finding, SourceKind},
    examination::Examination,
    http::{Allowed, Client, ClientFault, Fault, Request, below},
    service::{Adapter, Endpoint, Heard, NO_SERIAL, Pending, USER_AGENT, ask_each, unanswered},
    token_client::TokenClient,
};
use crate::{
    label::{Candidates, Serial},
    reason::Reason,
    runtime::name::Name,
};
pub use finding::Policy;
pub use settings::Settings;
use wire::Row;

/// With the slash at its end: without it Zentral redirects.
const DEVICES: &str = "api/mdm/dep/devices/";

const REFUSED: &str = "Zentral refused the API token, or its service account lacks the permission mdm.view_depdevice.";

/// One Zentral.
struct Zentral {
    name: Name,
    base: Url,
    reads: TokenClient,
    policy: Policy,
}

impl Adapter for Zentral {
    fn look_up<'a>(
        &'a self,
        candidates: &'a Candidates,
        purpose: Purpose,
        heard: &'a Heard,
    ) -> Pending<'a, Vec<Evidence>> {
        // The filter is exact, so each candidate is a question of its own.
        Box::pin(ask_each(candidates, move |serial| {
            self.one(serial, purpose, heard)
        }))
    }

    /// A look-up that finds nothing.
    fn probe(&self) -> Pending<'_, Result<(), Fault>> {
        Box::pin(self.probe_rows())
    }

    fn examine(&self) -> Pending<'_, Examination> {
        Box::pin(examine::examine(self))
    }

    fn client(&self) -> &Client {
        &self.reads.client
    }
}

impl Zentral {
    fn new(settings: Settings, to: Endpoint<'_>) -> Result<Self, ClientFault> {
        Ok(Self {
            reads: TokenClient {
                client: to.client(allowed(&to.url), USER_AGENT, None)?,
                credential: settings.token,
                scheme: "Token",
                refused: REFUSED,
            },
            name: to.name,
            base: to.url,
            policy: settings.policy,
        })
    }

    async fn one(&self, serial: &Serial, purpose: Purpose, heard: &Heard) -> Evidence {
        let bare = Evidence::bare(
            self.name.clone(),
            SourceKind::Zentral,
            serial.clone(),
            Finding::Unknown(Reason::GarbledAnswer),
        );
        match self.rows(serial.as_str(), purpose, heard).await {
            Ok((rows, date)) => {
                let heard = Evidence {
                    heard: true,
                    ..bare
                };
                finding::judge(heard, rows, date, &self.policy)
            }
            Err(fault) => unanswered(bare, &fault),
        }
    }

    async fn rows(
        &self,
        filter: &str,
        purpose: Purpose,
        heard: &Heard,
    ) -> Result<(Vec<Row>, Timestamp), Fault> {
        let mut url = below(&self.base, DEVICES);
        url.query_pairs_mut().append_pair("serial_number", filter);
        let reply = self.reads.send(Request::get(url), purpose).await?;
        heard.note();
        let rows = reply.read(|body| wire::rows(body, filter))?;
        Ok((rows, reply.date))
    }

    async fn probe_rows(&self) -> Result<(), Fault> {
        let heard = Heard::default();
        self.rows(NO_SERIAL, Purpose::Scan, &heard).await.map(drop)
    }
}

/// Everything that may be asked. A token may be allowed more: to disown devices, to assign profiles.
fn allowed(base: &Url) -> Vec<Allowed> {
    vec![Allowed::get(base, DEVICES, &["serial_number"])]
}

/// What the body of Zentral's reply of that `date` says about one serial number, where every server counts.
#[cfg(fuzzing)]
pub fn judged(body: &[u8], date: Timestamp, serial: &Serial, source: Name) -> Evidence {
    let bare = Evidence::bare(
        source,
        SourceKind::Zentral,
        serial.clone(),
        Finding::Unknown(Reason::GarbledAnswer),
    );
    let body = super::http::json(body).unwrap_or_default();
    match wire::rows(&body, serial.as_str()) {
        Ok(rows) => finding::judge(bare, rows, date, &Policy::default()),
        Err(_) => bare,
    }
}

#[cfg(test)]
mod tests;
