//! The whole ADE device list, for the replica: its pages, its rows in compact form, and what stored rows say.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::{
    ADE_DEVICES, Kandji,
    finding::{self, Policy, Records, Tokens},
    wire::{ListPage, Row, Token},
};
use crate::{
    label::Serial,
    readiness::{
        Pending, Purpose, compact,
        evidence::Evidence,
        http::{Fault, below},
        replica::{Facts, Listed, ListedRow, Page, StoredFacts, StoredRow, of_copy},
        spelling,
    },
    reason::Reason,
};

/// The number of the compact form. Whoever changes what is kept of a row or of a token takes the next one.
pub(super) const FORM: u8 = 1;

impl Listed for Kandji {
    fn facts(&self) -> Pending<'_, Result<Facts, Fault>> {
        Box::pin(async {
            let tokens = self.fetch_tokens(Purpose::Pass).await?;
            Ok(Facts {
                account: self.account(&tokens.list),
                body: compact::written(FORM, &tokens.list)?,
                date: tokens.date,
            })
        })
    }

    fn page<'a>(&'a self, next: Option<&'a str>) -> Pending<'a, Result<Page, Fault>> {
        Box::pin(self.list_page(next))
    }

    fn reads(&self) -> u64 {
        self.reads.client.reads_of_passes()
    }

    fn judge(
        &self,
        serial: &Serial,
        rows: &[StoredRow],
        facts: &StoredFacts,
        now: Timestamp,
    ) -> Evidence {
        let bare = self.bare(serial, Reason::Stale);
        // As this process has read it last, for a scan or in a pass, it is never older than the one of a complete pass.
        if let Some(tokens) = self.tokens.last() {
            return judge(bare, rows, &tokens.list, now, &self.policy);
        }
        match compact::read::<Vec<Token>>(FORM, &facts.body) {
            Some(tokens) => judge(bare, rows, &tokens, now, &self.policy),
            None => bare,
        }
    }
}

impl Kandji {
    /// The tenant, by its address and by the MDM servers at Apple that it is linked to.
    fn account(&self, tokens: &[Token]) -> String {
        let mut servers: Vec<String> = tokens
            .iter()
            .filter_map(|token| token.server_uuid.as_deref())
            .map(spelling::bare_uuid)
            .collect();
        servers.sort_unstable();
        servers.dedup();
        format!("{} {}", self.base, servers.join(" "))
    }

    /// One page. They are counted here: the `next` of a reply names another host.
    async fn list_page(&self, next: Option<&str>) -> Result<Page, Fault> {
        let number: u64 = match next {
            None => 1,
            Some(next) => next
                .parse()
                .map_err(|_| Fault::bare(Reason::StationFault))?,
        };
        let mut url = below(&self.base, ADE_DEVICES);
        url.query_pairs_mut()
            .append_pair("page", &number.to_string());
        let reply = self.get(url, Purpose::Pass).await?;
        let page = reply.read(|page| ListPage::read(page, number == 1))?;
        let mut unasked = self.unasked.lock().unwrap_or_else(PoisonError::into_inner);
        if number == 1 {
            unasked.clear();
        }
        let mut rows = Vec::with_capacity(page.rows.len());
        for (id, row) in page.rows {
            match Serial::new(&row.serial_number.trim().to_ascii_uppercase()) {
                Some(serial) => rows.push(ListedRow {
                    body: compact::written(FORM, &row)?,
                    id,
                    serial,
                }),
                None => drop(unasked.insert(id)),
            }
        }
        let left_out = u64::try_from(unasked.len()).unwrap_or(u64::MAX);
        Ok(Page {
            rows,
            total: Some(page.count.saturating_sub(left_out)),
            next: page.next.then(|| number.saturating_add(1).to_string()),
            date: reply.date,
        })
    }
}

/// What stored rows say of the serial number of `bare`, at the service's time `now`. Without a row nothing is known: an enrolled
/// device may have none, and only a live question finds it.
pub(super) fn judge(
    bare: Evidence,
    stored: &[StoredRow],
    tokens: &[Token],
    now: Timestamp,
    policy: &Policy,
) -> Evidence {
    let kept = |stored: &StoredRow| {
        Some(Row {
            serial_number: bare.serial.as_str().to_owned(),
            ..compact::read(FORM, &stored.body)?
        })
    };
    let Some(rows) = stored.iter().map(kept).collect::<Option<Vec<Row>>>() else {
        return bare;
    };
    if rows.is_empty() {
        return bare;
    }
    let records = Records {
        rows: &rows,
        now: Some(now),
        tokens: Ok(Tokens {
            list: tokens,
            now: Some(now),
        }),
        devices: Ok(&[]),
    };
    of_copy(finding::judge(bare, &records, policy), stored)
}

#[cfg(test)]
mod tests;
