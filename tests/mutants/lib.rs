//! The parts of Benchlight that decide, alone: without HTTP, SQLite, MQTT and devices a mutant is built in seconds. `run` lays
//! this file over a copy of `src`, so every module below is the product's own file, with the tests beside it.
#![allow(dead_code, unused_imports, reason = "what is used only by parts that are not here")]

pub mod runtime {
    pub mod clock;
    pub mod name;
    pub mod visible;
}
pub mod reason;
pub mod label;
pub mod readiness {
    pub mod evidence;
    pub mod lenient;
    pub mod http {
        use std::time::Duration;

        use jiff::Timestamp;

        use crate::reason::Reason;

        include!("items/http.rs");
    }
    pub mod kandji {
        mod rule;
        mod wire;
    }
    pub mod apple_dep {
        mod finding;
    }
    pub mod apple_business {
        mod finding;
    }

    include!("items/readiness.rs");
}
pub mod verdict;
pub mod record;
pub mod scanner {
    include!("items/scanner.rs");
}
pub mod station {
    pub mod core;
    pub mod status;
    pub mod waiting;
}
pub mod indicator {
    pub mod signal;
}
