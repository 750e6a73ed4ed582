//! The small commands: `down`, `status`, `logs`, `reset`, `sim`, `images`.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::install::{components_folder, ensure};
use devstack::layout::Layout;
use devstack::pins::pins;
use devstack::ports::Ports;
use devstack::process::{Processes, State};
use devstack::step::Progress;
use devstack::{engine, images, stack};

use crate::build::{self, Profile};
use crate::up::root;

/// Logs are read in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

/// The simulation, on the build that the tests use.
pub(crate) fn sim(args: &[String]) -> Result<ExitCode> {
    let binaries = build::all(Profile::Dev)?;
    build::hand_over(Command::new(binaries.join("sim")).args(args))
}

pub(crate) fn down() -> Result<ExitCode> {
    let _alone = Layout::create(&root())?.lock("xtask", Progress::Stderr)?;
    stop()
}

fn stop() -> Result<ExitCode> {
    let layout = Layout::create(&root())?;
    if Processes::new(layout.clone()).names().is_empty() {
        eprintln!("· nothing runs");
    }
    stack::stop_all(&layout, Progress::Stderr)?;
    Ok(ExitCode::SUCCESS)
}

/// Exit code 0 where everything that was started runs, else 1.
pub(crate) fn status() -> ExitCode {
    let Some(layout) = Layout::existing(&root()) else {
        println!("nothing was started; `cargo xtask up` does");
        return ExitCode::FAILURE;
    };
    let (processes, ports) = (Processes::new(layout.clone()), Ports::load(&layout));
    let names = processes.names();
    if names.is_empty() {
        println!("nothing runs; `cargo xtask up` starts it");
    }
    let mut all_run = !names.is_empty();
    for name in names {
        let state = match processes.state(&name) {
            State::Running(pid) => format!("running  process {pid}"),
            State::Dead | State::Absent => {
                all_run = false;
                format!(
                    "DEAD     `cargo xtask up` starts it again; log: {}",
                    layout.log(&name).display()
                )
            }
        };
        let port = ports
            .get(&name)
            .map(|port| format!("127.0.0.1:{port}"))
            .unwrap_or_default();
        println!("{name:<20} {port:<16} {state}");
    }
    if all_run {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

pub(crate) fn logs(name: &str, follow: bool) -> Result<ExitCode> {
    let Some(layout) = Layout::existing(&root()) else {
        bail!("nothing was started; `cargo xtask up` does")
    };
    let path = layout.log(name);
    if name.contains('/') || !path.exists() {
        let mut known: Vec<String> = fs::read_dir(layout.root().join("logs"))?
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
            .collect();
        known.sort();
        bail!("there is no log `{name}`; there are: {}", known.join(", "));
    }
    let mut file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        // Whoever reads our output may have seen enough.
        if std::io::stdout().write_all(&piece[..length]).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        if length > 0 {
            continue;
        }
        if !follow {
            return Ok(ExitCode::SUCCESS);
        }
        std::io::stdout().flush()?;
        sleep(Duration::from_millis(200));
        // A reset begins the file anew.
        if fs::metadata(&path).is_ok_and(|meta| meta.len() < file.stream_position().unwrap_or(0)) {
            file.seek(SeekFrom::Start(0))?;
        }
    }
}

pub(crate) fn reset() -> Result<ExitCode> {
    let _alone = Layout::create(&root())?.lock("xtask", Progress::Stderr)?;
    stop()?;
    stack::delete(&root())?;
    eprintln!(
        "· deleted all data, logs and addresses below {}; downloads are kept",
        root().display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds our own images of the components, on an engine that is started for it where none answers.
pub(crate) fn images() -> Result<ExitCode> {
    let mut packages: Vec<&str> = Vec::new();
    if !engine::answers() {
        packages.extend(pins().packages.docker.iter().map(String::as_str));
    }
    ensure(&components_folder(), &packages, Progress::Stderr)?;
    let engine = engine::ensure(&root(), Progress::Stderr)?;
    let built = images::build(Progress::Stderr);
    engine.release(Progress::Stderr)?;
    built?;
    for (component, image) in &pins().containers {
        eprintln!("  {component:<10} {}", image.local);
    }
    Ok(ExitCode::SUCCESS)
}
