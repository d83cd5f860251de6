//! Turn arguments into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    benchlight::cli::main(std::env::args_os())
}
