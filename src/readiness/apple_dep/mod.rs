//! Apple's Device Assignment Services ("DEP"): Apple's own word on a device's profile.

pub mod server_token;
pub mod token_file;
mod finding;
mod oauth;
mod refusal;
