//! What may be asked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "simulate")]
mod simulated;

use super::*;
use crate::readiness::http::tests::sent;

/// Nothing listens there: the reason shows whether a request was sent or refused.
const BASE: &str = "http://127.0.0.1:9";

async fn reason(request: Request) -> Reason {
    sent(allowed(&BASE.parse().unwrap()), request).await
}

#[tokio::test]
async fn only_a_question_for_devices_by_serial_number_leaves() {
    let base: Url = BASE.parse().unwrap();
    let asked = |path: &str, query: Option<&str>| {
        let mut url = below(&base, path);
        url.set_query(query);
        url
    };
    let filter = Some("serial_number=TESTZENTRL01");
    let good = asked(DEVICES, filter);
    assert_eq!(
        good.path(),
        "/api/mdm/dep/devices/",
        "with the slash at its end"
    );
    assert_eq!(reason(Request::get(good.clone())).await, Reason::Offline);
    let post = Request::post(good, "application/json", b"{}".to_vec());
    assert_eq!(reason(post).await, Reason::StationFault);
    for (path, query) in [
        ("", filter),
        ("api/mdm/dep/devices/14/", None),
        ("api/mdm/dep/devices/14/disown/", None),
        ("api/mdm/dep/virtual_servers/7/sync_devices/", None),
        ("api/mdm/devices/", filter),
        (DEVICES, Some("serial_number=TESTZENTRL01&limit=500")),
        (DEVICES, Some("serial=TESTZENTRL01")),
    ] {
        let url = asked(path, query);
        assert_eq!(
            reason(Request::get(url.clone())).await,
            Reason::StationFault,
            "{url}"
        );
    }
    let elsewhere: Url = "http://127.0.0.1:10/api/mdm/dep/devices/".parse().unwrap();
    assert_eq!(reason(Request::get(elsewhere)).await, Reason::StationFault);
}
