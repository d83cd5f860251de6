//! One scan from start to finish: the pure core with its lanes, and the driver that carries its actions out.

pub mod status;
pub mod waiting;
pub mod core;
pub mod ring;
pub mod driver;
pub mod look_up;
