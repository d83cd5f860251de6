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
const BASE: &str = "http://127.0.0.1:9/prefix";

async fn reason(request: Request) -> Reason {
    sent(allowed(&BASE.parse().unwrap()), request).await
}

#[tokio::test]
async fn what_writes_or_is_not_needed_never_leaves() {
    let base: Url = BASE.parse().unwrap();
    for path in [
        "api/v1/fleet/hosts/identifier/TESTFLEET001",
        "api/v1/fleet/hosts/32/dep_assignment",
        "api/v1/fleet/hosts/32/wipe",
        "api/v1/fleet/hosts/32/lock",
        "api/v1/fleet/scripts/run",
    ] {
        let request = Request::post(below(&base, path), "application/json", b"{}".to_vec());
        assert_eq!(reason(request).await, Reason::StationFault, "POST {path}");
    }
    for path in [
        "",
        "api/v1/fleet/hosts",
        "api/v1/fleet/hosts/32",
        "api/v1/fleet/hosts/identifier",
        "api/v1/fleet/hosts/identifier/TESTFLEET001/x",
        "api/v1/fleet/hosts/identifier/%2e%2e",
        "api/v1/fleet/hosts/32/encryption_key",
        "api/v1/fleet/hosts/32/dep_assignment/x",
        "api/latest/fleet/hosts/32/dep_assignment",
        "api/v1/fleet/config",
    ] {
        assert_eq!(
            reason(Request::get(below(&base, path))).await,
            Reason::StationFault,
            "GET {path}"
        );
    }
    for (path, query) in [
        (
            "api/v1/fleet/hosts/identifier/TESTFLEET001",
            "populate_policies=true",
        ),
        (
            "api/v1/fleet/hosts/32/dep_assignment",
            "exclude_software=true",
        ),
    ] {
        let mut url = below(&base, path);
        url.set_query(Some(query));
        assert_eq!(
            reason(Request::get(url)).await,
            Reason::StationFault,
            "{path}?{query}"
        );
    }
    let elsewhere: Url = "http://127.0.0.1:10/prefix".parse().unwrap();
    let url = below(&elsewhere, "api/v1/fleet/hosts/32/dep_assignment");
    assert_eq!(reason(Request::get(url)).await, Reason::StationFault);
}

#[tokio::test]
async fn what_is_needed_leaves() {
    let base: Url = BASE.parse().unwrap();
    let mut host = below(&base, "api/v1/fleet/hosts/identifier/TESTFLEET001");
    host.set_query(Some("exclude_software=true"));
    let assignment = below(&base, "api/v1/fleet/hosts/32/dep_assignment");
    for url in [host, assignment] {
        assert_eq!(
            reason(Request::get(url.clone())).await,
            Reason::Offline,
            "{url}"
        );
    }
}
