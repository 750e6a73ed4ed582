//! Calls cargo, as the one that called us.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use devstack::layout::workspace;
use devstack::step::Progress;

/// What the pipeline runs; each package has one program of its own name.
const SERVICES: [&str; 4] = ["command-service", "projector", "query-service", "tailwater"];

/// Programs of the package `bench`, as far as they are wanted: each takes as long to build as a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    Demonstration,
    Benchmarks,
}

impl Beside {
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Demonstration => &["demo"],
            Self::Benchmarks => &["bench", "bare", "constant", "instructions"],
        }
    }
}

/// Profiles that the binaries are built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// Builds the services, the command line and what is wanted beside them for release; says where the binaries are.
///
/// The same packages are named each time, whatever is built of them, as cargo chooses the dependencies' features by them.
pub(crate) fn services(beside: Beside) -> Result<PathBuf> {
    let packages = SERVICES.iter().chain(&["bench"]);
    let programs = SERVICES.iter().chain(beside.programs());
    build(
        Profile::Release,
        packages
            .flat_map(|package| ["--package", package])
            .chain(programs.flat_map(|program| ["--bin", program])),
    )
}

/// Builds the checkers, and the services that they check, for release.
pub(crate) fn checkers() -> Result<PathBuf> {
    let packages = SERVICES.iter().chain(&["e2e"]);
    build(
        Profile::Release,
        packages
            .flat_map(|package| ["--package", package])
            .chain(["--bins"]),
    )
}

/// Of all packages, and with what only tests need of them. There are no examples, but where they are asked for, cargo chooses the
/// dependencies' features as it does for tests, so that none of them is built twice.
const AS_FOR_TESTS: [&str; 2] = ["--workspace", "--examples"];

/// Builds every binary of the workspace as the tests need it.
pub(crate) fn all(profile: Profile) -> Result<PathBuf> {
    build(profile, AS_FOR_TESTS.into_iter().chain(["--bins"]))
}

/// Builds the query service that can make mistakes, for the tests of the checkers. Beside the real one, not instead of it.
pub(crate) fn with_bugs() -> Result<()> {
    let mut command = cargo();
    command.arg("build").args(AS_FOR_TESTS);
    command.args([
        "--bin",
        "query-service-with-bugs",
        "--features",
        "query-service/bugs",
    ]);
    let how = "building the query service with its bugs";
    Progress::Stderr.step(how, || run(&mut command))
}

fn build<'a>(profile: Profile, selection: impl IntoIterator<Item = &'a str>) -> Result<PathBuf> {
    let mut command = cargo();
    command.arg("build").args(selection);
    let how = match profile {
        Profile::Dev => "building the services",
        Profile::Release => {
            command.arg("--release");
            "building the services (release; some minutes the first time)"
        }
    };
    Progress::Stderr.step(how, || run(&mut command))?;
    Ok(binaries(profile))
}

/// Where the binaries of a profile are.
pub(crate) fn binaries(profile: Profile) -> PathBuf {
    target().join(match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    })
}

/// A command of the cargo that called us, in the workspace's top folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace());
    command
}

/// Runs a command to its end, with our own input and output; its exit code is ours.
pub(crate) fn hand_over(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs a command to its end, with our own input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", said(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", said(command));
    }
    Ok(())
}

/// The command as one would type it.
pub(crate) fn said(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir))
}
