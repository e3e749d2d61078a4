//! Parse, run, exit code.

use std::process::ExitCode;

/// Not the C library's allocator: that keeps freed memory for the thread that freed it, which takes
/// half as much memory again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gorget::cli::main()
}
