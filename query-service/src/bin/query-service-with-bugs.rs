//! The query service as the checkers' tests start it, with the mistake that `TAILWATER_BUG` names. Never deployed.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_kit::run::main("query-service", query_service::run)
}
