//! Stay alive and visible: the clock, checked names, secrets. Knows nothing of the product.

pub mod certificate;
pub mod clock;
pub mod credential;
pub mod file;
pub mod histogram;
pub mod loopback;
pub mod machine;
pub mod name;
pub mod pulse;
pub mod stream;
pub mod systemd;
pub mod times;
pub mod unit;
pub mod visible;
