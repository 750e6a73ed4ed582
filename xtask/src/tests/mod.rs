//! `test`: every test there is: format, lints and documentation, each crate's own tests, then the end-to-end suite on
//! processes and in containers. It ends with what ran where, what did not and why, and the sums.

mod suites;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use devstack::install::{components_folder, ensure, python};
use devstack::layout::Layout;
use devstack::pins::pins;
use devstack::stack;
use devstack::step::{Progress, seconds};

use crate::build::{self, Profile};
use crate::up::root;
use suites::Report;

/// Names the stacks that the end-to-end suite runs on: `processes`, `containers` or `both`.
const STACK: &str = "TAILWATER_TEST_STACK";
/// The package of the end-to-end suite.
const END_TO_END: &str = "e2e";

pub(crate) fn test() -> Result<ExitCode> {
    let begun = Instant::now();
    let wanted = Wanted::from_env()?;
    let packages = &pins().packages;
    let mut names: Vec<&str> = packages
        .build
        .iter()
        .chain(&packages.test)
        .map(String::as_str)
        .collect();
    if wanted.containers == Containers::Required && !devstack::engine::answers() {
        names.extend(packages.docker.iter().map(String::as_str));
    }
    ensure(&components_folder(), &names, Progress::Stderr)?;
    let mut env = BTreeMap::new();
    let python = python::ensure(&components_folder(), Progress::Stderr)?;
    env.insert(
        "TAILWATER_FASTAVRO_PYTHON".to_owned(),
        python.display().to_string(),
    );

    let mut report = Report::default();
    report.check("format", build::cargo().args(["fmt", "--all", "--check"]));
    let binaries = build::services(Profile::Dev)?;
    env.insert("TAILWATER_BINARIES".to_owned(), binaries.display().to_string());
    let unit = ["test", "--workspace", "--exclude", END_TO_END, "--no-fail-fast"];
    report.suite("every crate", build::cargo().args(unit).envs(&env));
    if wanted.processes {
        end_to_end(&mut report, "processes", &env);
    } else {
        report.left_out(
            "end to end on processes",
            &format!("{STACK} asks for containers only"),
        );
    }
    in_containers(&mut report, wanted.containers, &env);
    clean_up();
    let lints = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    report.check("lints", build::cargo().args(lints));
    let mut docs = build::cargo();
    docs.args(["doc", "--quiet", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    report.check("documentation", &mut docs);

    println!("\nAfter {}:", seconds(begun.elapsed()));
    report.print();
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Containers {
    /// Asked for: impossible is a failure.
    Required,
    /// Where an engine answers.
    WhereAnEngineAnswers,
    /// Not asked for.
    Unwanted,
}

#[derive(Debug, Clone, Copy)]
struct Wanted {
    processes: bool,
    containers: Containers,
}

impl Wanted {
    fn from_env() -> Result<Self> {
        let (processes, containers) = match std::env::var(STACK).as_deref() {
            Err(_) | Ok("") => (true, Containers::WhereAnEngineAnswers),
            Ok("processes") => (true, Containers::Unwanted),
            Ok("containers") => (false, Containers::Required),
            Ok("both") => (true, Containers::Required),
            Ok(other) => bail!("{STACK}={other}: it is `processes`, `containers` or `both`"),
        };
        Ok(Self {
            processes,
            containers,
        })
    }
}

fn end_to_end(report: &mut Report, on: &str, env: &BTreeMap<String, String>) {
    let mut command = build::cargo();
    command
        .args(["test", "--package", END_TO_END, "--no-fail-fast"])
        .envs(env)
        .env(STACK, on);
    report.suite(&format!("end to end on {on}"), &mut command);
}

fn in_containers(report: &mut Report, wanted: Containers, env: &BTreeMap<String, String>) {
    const NAME: &str = "end to end on containers";
    match wanted {
        Containers::Unwanted => {
            return report.left_out(NAME, &format!("{STACK} asks for processes only"));
        }
        Containers::WhereAnEngineAnswers if !devstack::engine::answers() => {
            return report.left_out(
                NAME,
                &format!("no Docker engine answers; {STACK}=both installs one"),
            );
        }
        Containers::WhereAnEngineAnswers | Containers::Required => {}
    }
    let outcome = devstack::engine::ensure(&root(), Progress::Stderr).and_then(|engine| {
        let images = devstack::images::ensure(Progress::Stderr)?;
        Ok((engine, images))
    });
    match outcome {
        Ok((engine, images)) => {
            let mut env = env.clone();
            env.insert("TAILWATER_IMAGES".to_owned(), images.to_string());
            println!("· containers of the images: {images}");
            end_to_end(report, "containers", &env);
            if let Err(error) = engine.release(Progress::Stderr) {
                eprintln!("error: {}", error.report());
            }
        }
        Err(error) => report.impossible(NAME, &error.report()),
    }
}

/// Ends and deletes the stacks of tests that were killed before they could do it themselves.
fn clean_up() {
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("test-") {
            continue;
        }
        if let Some(layout) = Layout::existing(&entry.path()) {
            let cleaned =
                stack::stop_all(&layout, Progress::Quiet).and_then(|()| stack::delete(&entry.path()));
            if let Err(error) = cleaned {
                eprintln!("error: {}", error.report());
            }
        }
    }
}
