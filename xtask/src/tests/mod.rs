//! `test`: every test there is: format, lints and documentation, each crate's own tests, then the end-to-end suite on
//! processes and in containers. It ends with what ran where, what did not and why, and the sums.

mod suites;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
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
pub(crate) fn test() -> Result<ExitCode> {
    let begun = Instant::now();
    let wanted = Wanted::from_env()?;
    let packages = &pins().packages;
    let mut names = needed();
    if wanted.containers == Containers::Required && !devstack::engine::answers() {
        names.extend(packages.docker.iter().map(String::as_str));
    }
    ensure(&components_folder(), &names, Progress::Stderr)?;
    let mut env = BTreeMap::new();
    for (name, environment, program) in [
        ("TAILWATER_FASTAVRO_PYTHON", python::FASTAVRO, "python"),
        ("TAILWATER_SCHEMATHESIS", python::SCHEMATHESIS, "schemathesis"),
    ] {
        let programs = python::ensure(&components_folder(), environment, Progress::Stderr)?;
        env.insert(name.to_owned(), programs.join(program).display().to_string());
    }

    let mut report = Report::default();
    report.check("format", build::cargo().args(["fmt", "--all", "--check"]));
    clean_up(false);
    build::with_bugs()?;
    build::all(Profile::Dev)?;
    if wanted.processes {
        let mut everything = build::cargo();
        everything
            .args(["test", "--workspace", "--no-fail-fast"])
            .envs(&env)
            .env(STACK, "processes");
        report.suite("every crate, and end to end on processes", &mut everything);
    } else {
        let mut units = build::cargo();
        units
            .args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"])
            .envs(&env);
        report.suite("every crate", &mut units);
        report.left_out(
            "end to end on processes",
            &format!("{STACK} asks for containers only"),
        );
    }
    // Two stacks at once would be too much for a small machine.
    clean_up(report.failed());
    in_containers(&mut report, wanted, &env);
    clean_up(report.failed());
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

/// A checker that tests run for a while, for as long as is asked, on private components: on a release build, as it may be asked
/// for a million operations, but for mistakes, which only the build has that the tests use.
pub(crate) fn checker(name: &str, args: &[String]) -> Result<ExitCode> {
    ensure(&components_folder(), &needed(), Progress::Stderr)?;
    let binaries = if args.iter().any(|arg| arg.starts_with("--bug")) {
        build::with_bugs()?;
        build::all(Profile::Dev)?
    } else {
        build::checkers()?
    };
    let held = Command::new(binaries.join(name)).args(args).status()?.success();
    clean_up(!held);
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Packages that tests need.
fn needed() -> Vec<&'static str> {
    let packages = &pins().packages;
    packages
        .build
        .iter()
        .chain(&packages.test)
        .map(String::as_str)
        .collect()
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

fn in_containers(report: &mut Report, wanted: Wanted, env: &BTreeMap<String, String>) {
    const NAME: &str = "end to end on containers";
    /// Long, and about the services alone.
    const CHECKERS: &str = "checkers::";
    match wanted.containers {
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
            let mut suite = build::cargo();
            suite.args(["test", "--workspace", "--no-fail-fast"]);
            for name in ["containers", "e2e", "faults"] {
                suite.args(["--test", name]);
            }
            suite.args(["--", "--include-ignored"]);
            if wanted.processes {
                suite.args(["--skip", CHECKERS]);
            }
            report.suite(NAME, suite.envs(&env).env(STACK, "containers"));
            if wanted.processes {
                report.left_out(
                    "the checkers on containers",
                    &format!("they ran on processes; {STACK}=containers runs them here"),
                );
            }
            // Services first: without their components they would only complain.
            clean_up(true);
            if let Err(error) = devstack::engine::remove_containers(None) {
                eprintln!("error: {}", error.report());
            }
            if let Err(error) = engine.release(Progress::Stderr) {
                eprintln!("error: {}", error.report());
            }
        }
        Err(error) => report.impossible(NAME, &error.report()),
    }
}

/// Ends what tests left running, by its ids: stacks that several test binaries share, and what killed tests could not end
/// themselves. Data and logs are deleted too, unless somebody will want to read them.
fn clean_up(keep_files: bool) {
    let told = |outcome: devstack::Result<()>| {
        if let Err(error) = outcome {
            eprintln!("error: {}", error.report());
        }
    };
    let tops = fs::read_dir(root())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let ours = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("test"))
    };
    for top in tops.filter(|path| ours(path)) {
        // Services before the components below them.
        let mut layouts = layouts(&top, 3);
        layouts.sort_by_key(|layout| std::cmp::Reverse(layout.root().components().count()));
        for layout in &layouts {
            told(stack::stop_all(layout, Progress::Quiet));
            if !keep_files {
                told(stack::delete(layout.root()));
            }
        }
        if keep_files {
            println!("· logs of what ran are below {}", top.display());
        } else {
            let _ = fs::remove_dir_all(&top);
        }
    }
}

/// The stacks in `folder` and below.
fn layouts(folder: &Path, depth: usize) -> Vec<Layout> {
    let mut found: Vec<Layout> = Layout::existing(folder).into_iter().collect();
    if depth > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(layouts(&entry.path(), depth - 1));
            }
        }
    }
    found
}
