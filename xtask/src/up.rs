//! `up`: from whatever state the machine is in to a running pipeline. `demo`: that, and the demonstration on it. `bench`: what
//! `up` installs and builds, and the benchmarks, which start stacks of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use devstack::install::{components_folder, ensure};
use devstack::layout::{Layout, workspace};
use devstack::pins::pins;
use devstack::services::{ALLOCATOR, Counts, ServiceOptions, Services};
use devstack::stack::{Options, Stack};
use devstack::step::{Progress, seconds};

use crate::build::{self, Beside, Profile};

/// The folder of the developer's own stack.
pub(crate) fn root() -> PathBuf {
    workspace().join(".local")
}

/// What runs after `up`.
pub(crate) struct Pipeline {
    services: Services,
    binaries: PathBuf,
}

/// Installs, builds, starts, deploys; says where everything is.
pub(crate) fn up(counts: Counts, brokers: Option<usize>, build: Option<Beside>) -> Result<Pipeline> {
    let begun = Instant::now();
    let _alone = Layout::create(&root())?.lock("xtask", Progress::Stderr)?;
    install()?;
    // The build first: it wants the whole machine, and a failed one should leave nothing running that was not.
    let binaries = match build {
        Some(beside) => build::services(beside)?,
        None => build::binaries(Profile::Release),
    };
    let mut options = Options::for_development(root());
    options.brokers = brokers;
    let stack = Stack::start(options)?;
    let services = Services::plan(
        stack.layout(),
        &stack.endpoints(),
        ServiceOptions {
            binaries: binaries.clone(),
            counts,
            env: BTreeMap::new(),
            usual_ports: true,
            progress: Progress::Stderr,
        },
    )?;
    let env = services.write_env()?;
    services.deploy()?;
    services.start()?;
    eprintln!("· up after {}", seconds(begun.elapsed()));
    for url in services.command_urls() {
        eprintln!("  commands  {url}");
    }
    for url in services.query_urls() {
        eprintln!("  queries   {url}");
    }
    eprintln!("  variables . {}", env.display());
    eprintln!("  stop      cargo xtask down");
    Ok(Pipeline { services, binaries })
}

/// `up`, then the demonstration with its own exit code; the pipeline stays.
pub(crate) fn demo(args: &[String]) -> Result<ExitCode> {
    let pipeline = up(Counts::default(), None, Some(Beside::Demonstration))?;
    build::hand_over(
        Command::new(pipeline.binaries.join("demo"))
            .args(args)
            .envs(pipeline.services.env()),
    )
}

/// Installs and builds like `up`, then the benchmarks with their own exit code. What else runs stays, and is measured with them.
pub(crate) fn bench(args: &[String]) -> Result<ExitCode> {
    let binaries = {
        let _alone = Layout::create(&root())?.lock("xtask", Progress::Stderr)?;
        install()?;
        build::services(Beside::Benchmarks)?
    };
    // It runs writers itself.
    let (allocator, keeps) = ALLOCATOR;
    build::hand_over(
        Command::new(binaries.join("bench"))
            .args(args)
            .env(allocator, keeps),
    )
}

/// What the build and the components need.
fn install() -> Result<()> {
    let packages = &pins().packages;
    let wanted: Vec<&str> = packages
        .build
        .iter()
        .chain(&packages.demo)
        .map(String::as_str)
        .collect();
    ensure(&components_folder(), &wanted, Progress::Stderr)?;
    Ok(())
}
