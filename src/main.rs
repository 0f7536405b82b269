//! The `klonwerk` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    klonwerk::cli::main()
}
