//! Apple's lists of an organisation's MDM servers and devices as they come.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::finding::{self, Device};
use crate::readiness::{
    shape::{Misshaped, Object},
    spelling,
};

/// One MDM server of the organisation. The replica keeps it in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    /// 32 hex digits.
    pub(super) id: String,
    pub(super) name: String,
    /// `MDM`, `APPLE_CONFIGURATOR` or `APPLE_MDM`.
    pub(super) kind: String,
}

impl Server {
    pub(super) fn read(value: &Value) -> Result<Self, Misshaped> {
        let server = Object::read("Apple's MDM server", value)?;
        finding::of_type(&server, "mdmServers")?;
        let id = server.needed_text("id")?.to_owned();
        let (name, kind) = match server.value("attributes") {
            Some(attributes) => {
                let attributes = Object::read("Apple's MDM server", attributes)?;
                (
                    attributes.shown("serverName")?,
                    attributes.shown("serverType")?,
                )
            }
            None => (None, None),
        };
        Ok(Self {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            kind: kind.unwrap_or_default(),
        })
    }

    /// Adds a page's servers to those of the pages before; gives the cursor of the next one. No server may come twice, and with the last
    /// page there must be as many as the pages say.
    pub(super) fn read_page(
        page: &Value,
        servers: &mut Vec<Self>,
    ) -> Result<Option<String>, Misshaped> {
        let page = finding::answer(page)?;
        for server in page.list("data")? {
            let server = Self::read(server)?;
            if servers.iter().any(|one| one.is(&server.id)) {
                return Err(Misshaped(
                    "Apple's list of MDM servers holds one twice.".to_owned(),
                ));
            }
            servers.push(server);
        }
        let (next, total) = paging("Apple's list of MDM servers", &page)?;
        let held = i64::try_from(servers.len()).unwrap_or(i64::MAX);
        match total {
            Some(total) if next.is_none() && total != held => Err(Misshaped(format!(
                "Apple's list of MDM servers does not add up: its total is {total}, it holds {held}."
            ))),
            _ => Ok(next),
        }
    }

    /// Is this its id, in whatever spelling?
    pub(super) fn is(&self, id: &str) -> bool {
        spelling::same_uuid(&self.id, id)
    }

    /// The server as a sentence names it.
    pub(super) fn shown(&self) -> String {
        match self.kind.as_str() {
            "APPLE_CONFIGURATOR" => format!("{:?} (Apple Configurator)", self.name),
            _ => format!("{:?}", self.name),
        }
    }
}

/// The cursor of the next page, and how many records the whole list has, if the page says so.
fn paging(
    name: &'static str,
    page: &Object<'_>,
) -> Result<(Option<String>, Option<i64>), Misshaped> {
    let Some(meta) = page.value("meta") else {
        return Ok((None, None));
    };
    let Some(paging) = Object::read(name, meta)?.value("paging") else {
        return Ok((None, None));
    };
    let paging = Object::read(name, paging)?;
    let next = paging.text("nextCursor")?.map(str::to_owned);
    Ok((next, paging.number("total", 0..=i64::MAX)?))
}

/// One page of a list of devices.
pub(super) struct ListPage<T> {
    pub(super) records: Vec<T>,
    pub(super) next: Option<String>,
}

impl<T> ListPage<T> {
    /// `read` gives the id of a record and what is wanted of it. No record may come twice.
    fn read<'p>(
        page: &'p Value,
        read: impl Fn(Object<'p>) -> Result<(&'p str, T), Misshaped>,
    ) -> Result<Self, Misshaped> {
        const NAME: &str = "Apple's list of devices";
        let page = finding::answer(page)?;
        let mut seen = HashSet::new();
        let mut records = Vec::new();
        for record in page.list("data")? {
            let (id, record) = read(Object::read("Apple's record", record)?)?;
            if !seen.insert(id) {
                return Err(Misshaped(format!("{NAME} holds one twice.")));
            }
            records.push(record);
        }
        let (next, _) = paging(NAME, &page)?;
        Ok(Self { records, next })
    }
}

/// Devices of the organisation, by their serial numbers.
pub(super) fn devices(page: &Value) -> Result<ListPage<(String, Device)>, Misshaped> {
    ListPage::read(page, |record| {
        let (serial, device) = finding::record(&record)?;
        Ok((serial, (serial.to_owned(), device)))
    })
}

/// The serial numbers of a server's devices.
pub(super) fn links(page: &Value) -> Result<ListPage<String>, Misshaped> {
    ListPage::read(page, |record| {
        finding::of_type(&record, "orgDevices")?;
        let serial = record.needed_text("id")?;
        Ok((serial, serial.to_owned()))
    })
}
