//! The whole list of devices for the replica, read as it comes, and what stored rows say.
//!
//! It is the lists of all instances and, where PreStages are expected, their scopes.
//! The service has no pages. A page of a pass is what has come of the lists so far, and goes on from one list to the next.

use jiff::Timestamp;
use url::Url;

use super::{
    Jamf,
    finding::{self, Policy, Records},
    wire::{self, Device, Instance, Kept, Prestage, PrestageKind},
};
use crate::{
    label::Serial,
    readiness::{
        Pending, Purpose, compact,
        evidence::Evidence,
        http::{Fault, Piece, Rows, below},
        replica::{Facts, Listed, ListedRow, Page, StoredFacts, StoredRow, of_copy},
        shape::Misshaped,
    },
    reason::Reason,
};

/// The number of the compact form. Whoever changes what is kept of a record or of an instance takes the next one.
pub(super) const FORM: u8 = 1;
/// Records on a page.
const PAGE: usize = 1_000;

/// One list of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum List {
    /// The devices of an instance.
    Devices(String),
    Scope(PrestageKind),
}

/// How far the lists are read in the present pass.
#[derive(Default)]
pub(super) struct Reading {
    /// Those that are left to be read, the next one last.
    lists: Vec<List>,
    open: Option<Open>,
    /// The cursor that the next page must have; empty: the first one.
    cursor: String,
    pages: u64,
    /// Records so far, as the lists that have ended counted them.
    total: u64,
    /// Of these and of the open list: those that no code on a box can name.
    unasked: u64,
    /// Why the pass cannot go on.
    broken: Option<Fault>,
}

/// A list that is being read.
struct Open {
    reader: Reader,
    rows: Rows,
}

/// What has come of a list.
struct Reader {
    list: List,
    /// How many records it has, as it says itself; of a scope: nothing.
    says: Option<u64>,
    came: u64,
}

/// What comes next of a list.
enum Step {
    Row {
        id: String,
        serial: Serial,
        kept: Kept,
    },
    /// A record that no code on a box can name.
    Unasked,
    End,
}

impl Listed for Jamf {
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>> {
        Box::pin(async {
            let known = self.instances(Purpose::Pass).await?;
            let mut lists: Vec<List> = Vec::new();
            if !self.policy.expected_prestages.is_empty() {
                lists.extend(PrestageKind::ALL.map(List::Scope));
            }
            let instances = known.list.iter().rev();
            lists.extend(instances.map(|instance| List::Devices(instance.id.clone())));
            *self.reading.lock().await = Reading {
                lists,
                ..Reading::default()
            };
            Ok(Facts {
                account: account(&self.base, &known.list),
                body: compact::written(FORM, &known.list)?,
                date: known.date,
            })
        })
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Result<Page, Fault>> {
        Box::pin(async move {
            let mut reading = self.reading.lock().await;
            self.read_on(&mut reading, next.unwrap_or_default()).await
        })
    }

    fn reads(&self) -> u64 {
        self.client.reads_of_passes()
    }

    fn judge(
        &self,
        serial: &Serial,
        rows: &[StoredRow],
        facts: &StoredFacts,
        now: Timestamp,
    ) -> Evidence {
        let bare = self.bare(serial, Reason::Stale);
        match compact::read::<Vec<Instance>>(FORM, &facts.body) {
            Some(instances) => judge(bare, rows, (&instances, facts), now, &self.policy),
            None => bare,
        }
    }
}

/// The server, by its address and by the MDM servers at Apple that it is linked to.
fn account(base: &Url, instances: &[Instance]) -> String {
    let uuids = instances
        .iter()
        .filter_map(|one| one.server_uuid.as_deref());
    let mut servers: Vec<&str> = uuids.collect();
    servers.sort_unstable();
    servers.dedup();
    format!("{base} {}", servers.join(" "))
}

impl Jamf {
    /// Reads the next page of the present pass.
    async fn read_on(&self, reading: &mut Reading, cursor: &str) -> Result<Page, Fault> {
        if let Some(fault) = &reading.broken {
            return Err(fault.clone());
        }
        if reading.cursor != cursor {
            return Err(Fault::bare(Reason::StationFault));
        }
        let mut rows = Vec::new();
        let mut date = self.instances.last().map(|known| known.now());
        while rows.len() < PAGE {
            match self.open_next(reading).await {
                // What has come is a page; whether the list can be had, the next one sees.
                Err(_) if !rows.is_empty() => break,
                opened => opened?,
            }
            let Some(open) = &mut reading.open else {
                break;
            };
            let step = open.step().await;
            date = Some(open.rows.now());
            match step {
                Ok(Step::Row { id, serial, kept }) => {
                    let body = compact::written(FORM, &kept)?;
                    rows.push(ListedRow { id, serial, body });
                }
                Ok(Step::Unasked) => reading.unasked += 1,
                Ok(Step::End) => {
                    reading.total += open.reader.total();
                    reading.open = None;
                }
                // What came before is used up: the pass begins anew.
                Err(fault) => {
                    reading.broken = Some(fault.clone());
                    return Err(fault);
                }
            }
        }
        reading.pages += 1;
        reading.cursor = reading.pages.to_string();
        Ok(Page {
            rows,
            total: reading.total(),
            next: (!reading.is_end()).then(|| reading.cursor.clone()),
            date: date.ok_or_else(|| Fault::bare(Reason::StationFault))?,
        })
    }

    /// Opens the next list if none is open.
    async fn open_next(&self, reading: &mut Reading) -> Result<(), Fault> {
        let (None, Some(list)) = (&reading.open, reading.lists.last()) else {
            return Ok(());
        };
        let url = match list {
            List::Devices(id) => self.instance_url(id, "devices"),
            List::Scope(kind) => below(&self.base, kind.scope()),
        };
        let rows = self.rows(url, Reader::field(list), Purpose::Pass).await?;
        let list = reading.lists.pop();
        reading.open = list.map(|list| Open {
            reader: Reader::new(list),
            rows,
        });
        Ok(())
    }
}

impl Reading {
    const fn is_end(&self) -> bool {
        self.open.is_none() && self.lists.is_empty()
    }

    /// How many records all lists have together; `None`: not all have said so yet.
    fn total(&self) -> Option<u64> {
        let open = match &self.open {
            None => Some(0),
            Some(open) => open.reader.says,
        };
        let total = self.total.saturating_add(open?);
        self.lists
            .is_empty()
            .then(|| total.saturating_sub(self.unasked))
    }
}

impl Open {
    async fn step(&mut self) -> Result<Step, Fault> {
        loop {
            let step = match self.rows.next().await? {
                None => self.reader.end(self.rows.has_list()).map(Some),
                Some(piece) => self.reader.take(piece),
            };
            let garbled = |misshaped: Misshaped| self.rows.garbled(&misshaped.to_string());
            if let Some(step) = step.map_err(garbled)? {
                return Ok(step);
            }
        }
    }
}

impl Reader {
    const fn new(list: List) -> Self {
        Self {
            list,
            says: None,
            came: 0,
        }
    }

    /// The name of the list in the reply.
    const fn field(list: &List) -> &'static str {
        match list {
            List::Devices(_) => "results",
            List::Scope(_) => "serialsByPrestageId",
        }
    }

    fn take(&mut self, piece: Piece) -> Result<Option<Step>, Misshaped> {
        match (&self.list, piece) {
            (List::Devices(_), Piece::Field(name, value)) if name == "totalCount" => {
                self.says = Some(wire::total_count(value)?);
                Ok(None)
            }
            (_, Piece::Field(..)) => Ok(None),
            (List::Devices(instance), Piece::Record(value)) => {
                let (serial, id, device) = Device::read(&value, instance)?;
                Ok(Some(self.row(&serial, id, Kept::Device(device))))
            }
            (List::Scope(kind), Piece::Named(serial, value)) => {
                let prestage = Prestage::of(*kind, &value)?;
                let id = format!(
                    "scope/{}/{}",
                    kind.code(),
                    serial.trim().to_ascii_uppercase()
                );
                Ok(Some(self.row(&serial, id, Kept::Scope(prestage))))
            }
            (_, Piece::Record(_) | Piece::Named(..)) => Err(Misshaped(
                "Jamf Pro's list is not of the documented form.".to_owned(),
            )),
        }
    }

    fn row(&mut self, serial: &str, id: String, kept: Kept) -> Step {
        self.came += 1;
        match Serial::new(&serial.trim().to_ascii_uppercase()) {
            Some(serial) => Step::Row { id, serial, kept },
            None => Step::Unasked,
        }
    }

    /// The reply has come to its end. `has_list`: it has the list, even an empty one.
    fn end(&self, has_list: bool) -> Result<Step, Misshaped> {
        let lacks = match (&self.list, self.says) {
            _ if !has_list => "Jamf Pro's answer has no list.",
            (List::Devices(_), None) => "Jamf Pro's list of devices has no totalCount.",
            _ => return Ok(Step::End),
        };
        Err(Misshaped(lacks.to_owned()))
    }

    /// How many records it should have brought.
    fn total(&self) -> u64 {
        self.says.unwrap_or(self.came)
    }
}

/// What stored rows say of the serial number of `bare`, at the service's time `now`.
pub(super) fn judge(
    bare: Evidence,
    stored: &[StoredRow],
    (instances, facts): (&[Instance], &StoredFacts),
    now: Timestamp,
    policy: &Policy,
) -> Evidence {
    let (mut devices, mut scopes) = (Vec::new(), Vec::new());
    for row in stored {
        match compact::read(FORM, &row.body) {
            Some(Kept::Device(device)) => devices.push(device),
            Some(Kept::Scope(prestage)) => scopes.push(prestage),
            None => return bare,
        }
    }
    let read_at = facts.read_at.date;
    let records = Records {
        devices: &devices,
        scopes: &scopes,
        instances,
        now,
        read_at,
    };
    let judged = of_copy(finding::judge(bare, &records, policy), stored);
    Evidence {
        as_of: judged.as_of.map(|as_of| as_of.min(read_at)),
        replied_at: judged.replied_at.or(Some(read_at)),
        ..judged
    }
}

/// What the bodies of Jamf Pro's replies (instances, the latest sync of each, the devices of the first, and, unless it is empty, the
/// computers' scope, where `computer:1` is expected) say about one serial number at the service's time `now`.
#[cfg(any(test, fuzzing))]
pub fn judged(
    [instances, sync, devices, scope]: [&[u8]; 4],
    now: Timestamp,
    bare: Evidence,
) -> Evidence {
    let kept = |body: &[u8], list: List| {
        let (field, mut reader) = (Reader::field(&list), Reader::new(list));
        let (pieces, has_list) = crate::readiness::http::pieces(body, field)?;
        let mut kept = Vec::new();
        for piece in pieces {
            if let Some(Step::Row {
                serial, kept: row, ..
            }) = reader.take(piece).ok()?
                && serial == bare.serial
            {
                kept.push(row);
            }
        }
        reader.end(has_list).ok()?;
        (reader.total() == reader.came).then_some(kept)
    };
    let all = || {
        let json = crate::readiness::http::json;
        let (mut instances, total) = wire::instances(&json(instances)?).ok()?;
        let synced = wire::success(&json(sync)?).ok()?;
        for instance in &mut instances {
            instance.synced = synced;
        }
        let whole = u64::try_from(instances.len()).ok() == Some(total);
        let first = instances.first().filter(|_| whole)?.id.clone();
        let mut rows = kept(devices, List::Devices(first))?;
        let prestage = Prestage::read("computer:1").filter(|_| !scope.is_empty());
        if prestage.is_some() {
            rows.extend(kept(scope, List::Scope(PrestageKind::Computer))?);
        }
        let (mut devices, mut scopes) = (Vec::new(), Vec::new());
        for row in rows {
            match row {
                Kept::Device(device) => devices.push(device),
                Kept::Scope(prestage) => scopes.push(prestage),
            }
        }
        Some((instances, devices, scopes, prestage))
    };
    let Some((instances, devices, scopes, prestage)) = all() else {
        return bare;
    };
    let records = Records {
        devices: &devices,
        scopes: &scopes,
        instances: &instances,
        now,
        read_at: now,
    };
    let policy = Policy {
        instances: Vec::new(),
        max_fetch_age: std::time::Duration::from_hours(24),
        expected_prestages: prestage.into_iter().collect(),
    };
    finding::judge(bare.clone(), &records, &policy)
}

#[cfg(test)]
mod tests;
