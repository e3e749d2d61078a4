//! Parse, run, exit code.

use std::process::ExitCode;

/// The C library's keeps what threads have freed for the same threads: half as much again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gorget::cli::main()
}
