//! Parse, build, run, exit code.

use std::process::ExitCode;

use spot_interrupt_handler::args;

/// `EX_USAGE` of sysexits: the command line cannot be used.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    // The one place where the environment is read.
    #[allow(clippy::disallowed_methods)]
    let parsed = args::parse(std::env::args_os(), |name| std::env::var_os(name));
    match parsed {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            }
        }
    }
}
