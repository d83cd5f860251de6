//! One scan from start to finish: the core with its lanes decides, and the driver carries its actions out.

pub mod confirming;
pub mod core;
pub mod driver;
pub mod lamp_feed;
pub mod look_up;
pub mod news;
pub mod status;
pub mod tally;
pub mod unrecorded;
pub mod waiting;
