//! The page's port: free to listen on, or the agent's.

use std::net::SocketAddr;

use super::{Line, State};
use crate::{health::WebCondition, web};

/// `agent`: whether an agent runs; `None`: unknown.
pub(super) fn web(listen: SocketAddr, agent: Option<bool>) -> Line {
    const PART: &str = "web";
    if agent == Some(true) {
        return Line::in_use(PART, &format!(": the page is to be on {listen}"));
    }
    let (finding, remedy) = match web::probe(listen) {
        WebCondition::Ok | WebCondition::Starting => {
            return Line::ok(PART, format!("{listen} is free to listen on"));
        }
        WebCondition::Busy => (
            "is in use by another program",
            "end the program that holds the port, or choose another one in `listen` of [web]",
        ),
        WebCondition::NoRight => (
            "may not be listened on by this user",
            "choose a port above 1023 in `listen` of [web]",
        ),
        WebCondition::Fault => (
            "cannot be listened on",
            "check `listen` of [web]: the address must be one of this machine's",
        ),
    };
    // The station answers scans all the same.
    Line::new(PART, State::Warn, format!("{listen} {finding}"), remedy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_worth_a_word() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        assert_eq!(web(listen, Some(false)).state, State::Warn);
        assert_eq!(web(listen, Some(true)).state, State::InUse);
        drop(taken);
        assert_eq!(web(listen, Some(false)).state, State::Ok);
        let elsewhere = SocketAddr::from(([192, 0, 2, 7], 8480));
        assert_eq!(web(elsewhere, None).state, State::Warn);
    }
}
