//! The binary: runs a command and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    benchlight::cli::main(std::env::args_os())
}
