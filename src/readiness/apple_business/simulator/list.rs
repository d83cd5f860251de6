//! The lists of the API: all devices, all MDM servers, and the devices of one server, page by page behind a cursor.

use axum::{
    Extension,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    Service,
    book::{ALL, Book, SERVERS, Whole},
    error, json_reply, not_found, server_json,
};
use crate::simulator::{Log, listing::ListFault};

/// Rows in one page where the client does not say, and the most.
const PAGE: usize = 100;
const MOST: usize = 1000;
/// As the service documents it: the links name whole addresses, here of a host that nobody must ask.
const ELSEWHERE: &str = "https://elsewhere.example";

/// A page that was asked for.
struct Question {
    path: String,
    limit: usize,
    /// The cursor, and the place in the list that it stands for.
    cursor: Option<(String, usize)>,
    fault: ListFault,
}

impl Question {
    #[expect(
        clippy::result_large_err,
        reason = "the reply goes out at once, as in all handlers of axum"
    )]
    fn read(uri: &Uri, fault: Option<Extension<ListFault>>, log: &Log) -> Result<Self, Response> {
        let misunderstood = |code: &str, title: &str| {
            log.violation(format!("{title} {uri}"));
            error(400, code, title)
        };
        let mut question = Self {
            path: uri.path().to_owned(),
            limit: PAGE,
            cursor: None,
            fault: fault.map(|Extension(fault)| fault).unwrap_or_default(),
        };
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        {
            match name.as_ref() {
                "limit" => {
                    let limit = value.parse().ok();
                    question.limit = limit
                        .filter(|limit| (1..=MOST).contains(limit))
                        .ok_or_else(|| {
                            misunderstood("PARAMETER_ERROR.INVALID", "The limit is not 1 to 1000.")
                        })?;
                }
                // A cursor that the service no longer takes is part of normal life.
                "cursor" => {
                    let place = value.strip_prefix("after-").and_then(|at| at.parse().ok());
                    let place = place.ok_or_else(|| {
                        error(400, "PARAMETER_ERROR.INVALID", "The cursor is not valid.")
                    })?;
                    question.cursor = Some((value.into_owned(), place));
                }
                _ => {
                    return Err(misunderstood(
                        "PARAMETER_ERROR.ILLEGAL",
                        "The parameter is not known.",
                    ));
                }
            }
        }
        Ok(question)
    }

    /// The page of a list of `rows` rows, of which `row` shows those at given places.
    fn answer(
        &self,
        rows: usize,
        total: Total,
        shown: impl FnOnce(std::ops::Range<usize>) -> Vec<Value>,
    ) -> Response {
        let from = self.cursor.as_ref().map_or(0, |(_, place)| *place);
        let page = self.fault.page(from, self.limit, rows);
        let link = format!("{ELSEWHERE}{}", self.path);
        let mut paging = json!({ "limit": self.limit });
        let mut links = json!({ "self": link });
        let set = |value: &mut Value, name: &str, text: Value| {
            if let Some(fields) = value.as_object_mut() {
                fields.insert(name.to_owned(), text);
            }
        };
        if total == Total::Told {
            set(&mut paging, "total", json!(page.total));
        }
        if page.more {
            let asked = self.cursor.as_ref().filter(|_| self.fault.stuck);
            let next = asked.map_or_else(
                || format!("after-{}", page.places.end),
                |(cursor, _)| cursor.clone(),
            );
            set(&mut links, "next", json!(format!("{link}?cursor={next}")));
            set(&mut paging, "nextCursor", json!(next));
        }
        let data = shown(page.rows);
        json_reply(
            200,
            &json!({ "data": data, "links": links, "meta": { "paging": paging } }),
        )
    }
}

/// Does the list tell its length? Apple documents the total as optional, and shows none for a server's devices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Total {
    Told,
    Untold,
}

pub(super) async fn devices(
    State(service): State<Service>,
    fault: Option<Extension<ListFault>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    service.list(&headers, &uri, fault, |book, question| {
        question.answer(book.count(ALL), Total::Told, |places| {
            let serials = book.serials(ALL, &places);
            let devices = serials.iter();
            devices
                .filter_map(|serial| book.device(serial, Whole::List))
                .collect()
        })
    })
}

pub(super) async fn servers(
    State(service): State<Service>,
    fault: Option<Extension<ListFault>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    service.list(&headers, &uri, fault, |_, question| {
        question.answer(SERVERS.len(), Total::Told, |places| {
            let servers = SERVERS.iter().skip(places.start).take(places.len());
            servers.map(|server| server_json(*server)).collect()
        })
    })
}

pub(super) async fn of_server(
    State(service): State<Service>,
    fault: Option<Extension<ListFault>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    service.list(&headers, &uri, fault, |book, question| {
        let Some(place) = SERVERS.iter().position(|(server, ..)| *server == id) else {
            return not_found();
        };
        let list = place + 1;
        question.answer(book.count(list), Total::Untold, |places| {
            let linked = book.serials(list, &places);
            let linked = linked
                .iter()
                .filter(|serial| book.server_of(serial).is_some());
            linked
                .map(|serial| json!({ "type": "orgDevices", "id": serial }))
                .collect()
        })
    })
}

impl Service {
    fn list(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        fault: Option<Extension<ListFault>>,
        answer: impl FnOnce(&Book, &Question) -> Response,
    ) -> Response {
        self.read(headers, |book| {
            match Question::read(uri, fault, &self.log) {
                Ok(question) => answer(book, &question),
                Err(refused) => refused,
            }
        })
    }
}
