//! Turn arguments into an exit code.

fn main() {}
