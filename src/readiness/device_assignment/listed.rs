//! The list of all devices of the MDM server that is asked, for the replica: its pages, what is kept of them, and what a stored record says.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    DeviceAssignment, Question, Shared, Way,
    finding::{self, Device, Expected, Profile, Said},
};
use crate::{
    label::Serial,
    readiness::{
        Pending, Purpose, compact,
        evidence::Evidence,
        http::{Fault, affects_every_box, below},
        replica::{Facts, Listed, ListedRow, Page, StoredFacts, StoredRow, of_copy},
        shape::{Misshaped, Object},
        spelling,
    },
    reason::Reason,
};

/// The number of the compact form. Whoever changes what is kept takes the next one.
pub(super) const FORM: u8 = 1;

/// The most devices that Apple gives in one page.
pub(super) const LIMIT: u64 = 1_000;

/// So many profiles are read in one pass. A box with another one is asked about live.
const MOST_PROFILES: usize = 20;

/// What is kept of a record: the device, and the host that its profile enrolls with where the station's policy asks for it.
pub(super) type Kept = (Device, Option<String>);

impl<W: Way> Listed for DeviceAssignment<W> {
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>> {
        Box::pin(self.shared.facts())
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Result<Page, Fault>> {
        Box::pin(self.shared.list_page(next))
    }

    fn reads(&self) -> u64 {
        self.way().client().reads_of_passes()
    }

    fn judge(
        &self,
        serial: &Serial,
        rows: &[StoredRow],
        facts: &StoredFacts,
        now: Timestamp,
    ) -> Evidence {
        let mut bare = self.shared.bare(serial, Reason::Stale);
        // The account as this process has read it is never older than the one of a pass.
        bare.server_uuid = match self.shared.known_account() {
            Some(account) => account.server_uuid,
            None => compact::read::<Option<String>>(FORM, &facts.body).flatten(),
        };
        judge(bare, rows, now, &self.shared.expected)
    }
}

impl<W: Way> Shared<W> {
    async fn facts(&self) -> Result<Facts, Fault> {
        let (account, date) = self.account(Purpose::Pass).await?;
        let server = account
            .server_uuid
            .as_deref()
            .map_or_else(|| account.server_name.clone(), spelling::bare_uuid);
        Ok(Facts {
            account: format!("{} {server}", below(self.way.base(), "")),
            body: compact::written(FORM, &account.server_uuid)?,
            date,
        })
    }

    async fn list_page(&self, next: Option<&str>) -> Result<Page, Fault> {
        let asked = self.way.ask(Question::Page(next), Purpose::Pass);
        let reply = asked.await?;
        let page = reply.read(ListPage::read)?;
        if next.is_none() {
            self.known().listed_hosts.clear();
        }
        let mut rows = Vec::with_capacity(page.devices.len());
        for (serial, device) in page.devices {
            let host = match self.expected.wanted_profile(&device) {
                Ok(uuid) => self.listed_host(uuid).await?,
                Err(_) => None,
            };
            rows.push(ListedRow {
                id: serial.as_str().to_owned(),
                serial,
                body: compact::written(FORM, &(device, host))?,
            });
        }
        Ok(Page {
            rows,
            total: None,
            next: page.next,
            date: reply.date,
        })
    }

    /// The host of a profile, read once a pass; `None`: the profile cannot be read, or is one too many.
    async fn listed_host(&self, uuid: &str) -> Result<Option<String>, Fault> {
        let read = {
            let known = self.known();
            let hosts = &known.listed_hosts;
            let one_too_many = (hosts.len() >= MOST_PROFILES).then_some(None);
            hosts.get(uuid).cloned().or(one_too_many)
        };
        if let Some(host) = read {
            return Ok(host);
        }
        let host = match self.host_of(uuid, Purpose::Pass).await {
            Ok(host) => Some(host),
            Err(fault) if affects_every_box(fault.reason) => return Err(fault),
            Err(_) => None,
        };
        let mut known = self.known();
        known.listed_hosts.insert(uuid.to_owned(), host.clone());
        Ok(host)
    }
}

/// What stored rows say of the serial number of `bare`, at the service's time `now`. Without a row nothing is known.
pub(super) fn judge(
    bare: Evidence,
    rows: &[StoredRow],
    now: Timestamp,
    expected: &Expected,
) -> Evidence {
    // There is one record of a serial number.
    let [row] = rows else {
        return bare;
    };
    let Some((device, host)) = compact::read::<Kept>(FORM, &row.body) else {
        return bare;
    };
    let profile = match (expected.wanted_profile(&device), host) {
        (Err(profile), _) => profile,
        (Ok(_), Some(host)) => Profile::Host(host),
        (Ok(_), None) => Profile::Unread(Reason::Stale, None),
    };
    let mut evidence = Evidence {
        replied_at: Some(now),
        ..bare
    };
    let said = Said::Device(Box::new(device));
    finding::judge(&mut evidence, said, &profile, expected);
    of_copy(evidence, rows)
}

/// One page of the list.
pub(super) struct ListPage {
    pub(super) devices: Vec<(Serial, Device)>,
    pub(super) next: Option<String>,
}

impl ListPage {
    pub(super) fn read(page: &Value) -> Result<Self, Misshaped> {
        let page = Object::read("Apple's list of devices", page)?;
        let mut devices = Vec::new();
        let mut seen = HashSet::new();
        for record in page.list("devices")? {
            let record = Object::read("Apple's record", record)?;
            let serial = record.needed_text("serial_number")?;
            if !seen.insert(serial) {
                return Err(Misshaped(
                    "Apple's list of devices holds one twice.".to_owned(),
                ));
            }
            let device = Device::read(&record)?;
            // No code on a box names any other one.
            if let Some(serial) = Serial::new(serial) {
                devices.push((serial, device));
            }
        }
        let follows = page
            .flag("more_to_follow")?
            .ok_or_else(|| page.lacks("more_to_follow"))?;
        let next = follows
            .then(|| page.needed_text("cursor").map(str::to_owned))
            .transpose()?;
        Ok(Self { devices, next })
    }
}

#[cfg(test)]
mod tests;
