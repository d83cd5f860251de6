//! Apple's list of an organisation's MDM servers as it comes.

use serde_json::Value;

use super::finding;
use crate::readiness::{
    shape::{Misshaped, Object},
    spelling,
};

/// One MDM server of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let Some(meta) = page.value("meta") else {
            return Ok(None);
        };
        let Some(paging) = Object::read("Apple's list of MDM servers", meta)?.value("paging")
        else {
            return Ok(None);
        };
        let paging = Object::read("Apple's list of MDM servers", paging)?;
        let (next, total) = (
            paging.text("nextCursor")?,
            paging.number("total", 0..=i64::MAX)?,
        );
        let held = i64::try_from(servers.len()).unwrap_or(i64::MAX);
        match total {
            Some(total) if next.is_none() && total != held => Err(Misshaped(format!(
                "Apple's list of MDM servers does not add up: its total is {total}, it holds {held}."
            ))),
            _ => Ok(next.map(str::to_owned)),
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
