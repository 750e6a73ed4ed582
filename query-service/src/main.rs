//! REST reads from the read models, as fresh as each caller asks.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    service_kit::run::main("query-service", query_service::run)
}
