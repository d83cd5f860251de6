//! Only the deciding parts of Benchlight: without HTTP, SQLite, MQTT and devices a mutant builds in seconds. `run` puts
//! this file in place of `lib.rs` in a copy of `src`, so every module below is the product's own file, with the tests beside it.
//! The features are the parts of `run`.
#![allow(dead_code, unused_imports, reason = "some items are used only by parts that are left out")]

pub mod runtime {
    pub mod clock;
    pub mod name;
    pub mod times;
    pub mod visible;
}
pub mod reason;
pub mod label;
pub mod readiness {
    #[cfg(feature = "readiness")]
    mod as_of;
    #[cfg(feature = "readiness")]
    mod compact;
    #[cfg(feature = "readiness")]
    mod counted_list;
    pub mod evidence;
    pub mod kind;
    pub mod spelling;
    pub mod shape;
    pub mod http {
        use std::time::Duration;

        use jiff::Timestamp;

        use crate::reason::Reason;

        mod json;

        include!("items/http.rs");
    }
    #[cfg(feature = "readiness")]
    pub mod kandji {
        mod finding;
        mod wire;
    }
    #[cfg(feature = "readiness")]
    pub mod device_assignment {
        mod finding;
    }
    #[cfg(feature = "readiness")]
    pub mod apple_business {
        mod finding;
    }
    #[cfg(feature = "readiness")]
    pub mod jamf {
        mod finding;
        mod wire;
    }
    #[cfg(feature = "readiness")]
    pub mod intune {
        mod finding;
        mod wire;
    }
    #[cfg(feature = "readiness")]
    pub mod fleet {
        mod finding;
        mod wire;
    }
    #[cfg(feature = "readiness")]
    pub mod zentral {
        mod finding;
        mod wire;
    }

    #[cfg(feature = "station")]
    pub mod replica {
        use std::time::Duration;

        use jiff::Timestamp;
        use uuid::Uuid;

        use crate::runtime::clock::Boot;

        pub mod rule;

        include!("items/replica.rs");
    }

    use crate::runtime::{clock::Boot, name::Name};

    include!("items/readiness.rs");
}
pub mod verdict;
pub mod record;
#[cfg(feature = "station")]
pub mod scanner {
    include!("items/scanner.rs");
}
pub mod station {
    #[cfg(feature = "station")]
    pub mod core;
    #[cfg(feature = "station")]
    pub mod confirming;
    pub mod status;
    #[cfg(feature = "station")]
    pub mod waiting;
}
#[cfg(feature = "indicator")]
pub mod indicator {
    pub mod signal;
}
