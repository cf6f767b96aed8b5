//! Ringway: a real-time connection server.

use std::process::ExitCode;

use clap::Parser as _;
use ringway::command_line::{self, CommandLine};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command_line::run(CommandLine::parse())
}
