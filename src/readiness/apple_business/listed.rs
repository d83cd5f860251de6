//! All devices of the organisation and of each of its MDM servers, for the replica: their pages, what is kept, and what that says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    AppleBusiness, both_named,
    finding::{self, Device, Linked, Said},
    wire::{self, Server},
};
use crate::{
    label::Serial,
    readiness::{
        Pending, Purpose,
        compact::{self, Id},
        evidence::{Evidence, Finding, SourceKind},
        http::{self, Fault, Reply, Request},
        replica::{Facts, Listed, ListedRow, Page, StoredFacts, StoredRow, of_copy},
    },
    reason::Reason,
};

/// The number of the compact form. Whoever changes what is kept takes the next one.
pub(super) const FORM: u8 = 1;

/// The most that Apple gives in one page.
const LIMIT: u64 = 1_000;

/// What is kept of a serial number: the organisation's record, and a row for each server that lists it.
#[derive(Serialize, Deserialize)]
pub(super) enum Kept {
    Device(Device),
    /// The server's id.
    Link(Id),
}

/// The page to be read: the service's own cursor, and in which of its lists.
#[derive(Serialize, Deserialize)]
enum Place {
    Devices(Option<String>),
    /// The devices of the first of these servers; those of the others follow.
    Links(Vec<String>, Option<String>),
}

impl Listed for AppleBusiness {
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>> {
        Box::pin(async {
            let servers = self.servers(Purpose::Pass).await?;
            Ok(Facts {
                account: format!("{} {}", self.base, self.token.grant().client_id),
                body: compact::written(FORM, &servers.list)?,
                date: servers.date,
            })
        })
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Result<Page, Fault>> {
        Box::pin(self.list_page(next))
    }

    fn reads(&self) -> u64 {
        self.client.reads_of_passes()
    }

    fn judge(
        &self,
        serial: &Serial,
        rows: &[StoredRow],
        facts: &StoredFacts,
        _: Timestamp,
    ) -> Evidence {
        let bare = Evidence::bare(
            self.name.clone(),
            SourceKind::AppleBusiness,
            serial.clone(),
            Finding::Unknown(Reason::Stale),
        );
        // As this process has read them last, for a scan or in a pass, they are never older than those of a complete pass.
        if let Some(servers) = self.servers.last() {
            return judge(bare, rows, &self.expected, &servers.list);
        }
        let servers: Option<Vec<Server>> = compact::read(FORM, &facts.body);
        judge(bare, rows, &self.expected, &servers.unwrap_or_default())
    }
}

impl AppleBusiness {
    /// A page of the organisation's devices; behind the last one, those of each server.
    async fn list_page(&self, next: Option<&str>) -> Result<Page, Fault> {
        let place = match next {
            None => Place::Devices(None),
            Some(next) => {
                serde_json::from_str(next).map_err(|_| Fault::bare(Reason::StationFault))?
            }
        };
        match place {
            Place::Devices(cursor) => self.devices_page(cursor).await,
            Place::Links(servers, cursor) => self.links_page(servers, cursor).await,
        }
    }

    async fn devices_page(&self, cursor: Option<String>) -> Result<Page, Fault> {
        let reply = self.list("orgDevices", cursor).await?;
        let page = reply.read(wire::devices)?;
        let mut rows = Vec::with_capacity(page.records.len());
        for (serial, device) in page.records {
            rows.extend(row(
                &serial,
                format!("device:{serial}"),
                &Kept::Device(device),
            )?);
        }
        let next = match page.next {
            None => self.links_of_all().await?,
            cursor => Some(Place::Devices(cursor)),
        };
        paged(rows, next, &reply)
    }

    async fn links_page(
        &self,
        mut servers: Vec<String>,
        cursor: Option<String>,
    ) -> Result<Page, Fault> {
        let server = servers
            .first()
            .ok_or_else(|| Fault::bare(Reason::StationFault))?;
        let path = format!("mdmServers/{server}/relationships/devices");
        let reply = self.list(&path, cursor).await?;
        let page = reply.read(wire::links)?;
        let mut rows = Vec::with_capacity(page.records.len());
        for serial in page.records {
            let id = format!("server:{server}:{serial}");
            rows.extend(row(&serial, id, &Kept::Link(Id::from(&**server)))?);
        }
        if page.next.is_none() {
            servers.remove(0);
        }
        let next = (!servers.is_empty()).then_some(Place::Links(servers, page.next));
        paged(rows, next, &reply)
    }

    /// The first page of the servers' devices, by the list of servers that this pass has read; `None`: there is no server.
    async fn links_of_all(&self) -> Result<Option<Place>, Fault> {
        let servers = match self.servers.last() {
            Some(servers) => servers,
            None => self.servers(Purpose::Pass).await?,
        };
        let ids: Vec<String> = servers
            .list
            .iter()
            .map(|server| server.id.clone())
            .collect();
        Ok((!ids.is_empty()).then_some(Place::Links(ids, None)))
    }

    /// The links in a reply name whole addresses: only the cursor is followed, on the configured host.
    async fn list(&self, path: &str, cursor: Option<String>) -> Result<Reply, Fault> {
        let mut url: Url = http::below(&self.base, path);
        url.query_pairs_mut()
            .append_pair("limit", &LIMIT.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", &cursor);
        }
        self.get(Request::get(url), Purpose::Pass).await
    }
}

/// `None`: no code on a box names it.
fn row(serial: &str, id: String, kept: &Kept) -> Result<Option<ListedRow>, Fault> {
    let Some(serial) = Serial::new(serial) else {
        return Ok(None);
    };
    let body = compact::written(FORM, kept)?;
    Ok(Some(ListedRow { id, serial, body }))
}

fn paged(rows: Vec<ListedRow>, next: Option<Place>, reply: &Reply) -> Result<Page, Fault> {
    let text = |place| serde_json::to_string(&place);
    Ok(Page {
        rows,
        total: None,
        next: next
            .map(text)
            .transpose()
            .map_err(|_| Fault::bare(Reason::StationFault))?,
        date: reply.date,
    })
}

/// What stored rows say of the serial number of `bare`. Without a record nothing is known. The lists are read one after the other:
/// where a device is assigned and under none of the `servers`, or under several, only a live question tells.
pub(super) fn judge(
    bare: Evidence,
    rows: &[StoredRow],
    expected: &[String],
    servers: &[Server],
) -> Evidence {
    let (mut device, mut links) = (None, Vec::new());
    for row in rows {
        match compact::read(FORM, &row.body) {
            Some(Kept::Device(one)) if device.is_none() => device = Some(one),
            Some(Kept::Link(server)) => links.push(server.text()),
            _ => return bare,
        }
    }
    let Some(device) = device else {
        return bare;
    };
    let said = Said::Device(Box::new(device));
    let linked = said.wants_server().then(|| match links.as_slice() {
        [server] if servers.iter().any(|one| one.is(server)) => Linked::To(server.clone()),
        [] | [_] => Linked::Unread(Reason::Stale, None),
        _ => Linked::Unread(
            Reason::Contradiction,
            Some("Apple lists it under several MDM servers.".to_owned()),
        ),
    });
    let named = match &linked {
        Some(Linked::To(id)) if !finding::is_expected(id, expected) => {
            Some(both_named(servers, id, expected))
        }
        _ => None,
    };
    let mut evidence = bare;
    finding::judge(&mut evidence, said, linked, expected, named);
    of_copy(evidence, rows)
}

#[cfg(test)]
mod tests;
