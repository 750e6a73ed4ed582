//! Postgres from Debian's package, as a private server: own data folder, own port, loopback only, no Unix socket.
//!
//! It refuses to run as root, so where we are root it runs as its own system user. That user must reach the data
//! folder: where a folder above the stack's root is closed to others (a checkout in root's home, say), the data is
//! kept in `/var/lib/tailwater/<random id>` instead, and `data/postgres` is a link to it. Rights of folders that are
//! not ours are never changed.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid};

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::process::Spec;
use crate::random;

const NAME: &str = "postgres";
const ELSEWHERE: &str = "/var/lib/tailwater";
/// Role and database of the read models, and those of the schema registry.
const OWNERS: [&str; 2] = ["tailwater", "registry"];

/// Where the pinned major version is installed, if it is.
pub(crate) fn programs(major: &str) -> PathBuf {
    PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))
}

/// Initialises the data folder once and says how to start the server.
pub(crate) fn prepare(layout: &Layout, programs: &Path, port: u16) -> Result<Spec> {
    let user = user()?;
    let folder = data_folder(layout, user)?;
    if !folder.join("PG_VERSION").exists() {
        initialise(layout, programs, &folder, user)?;
    }
    let mut args = vec![
        "-D".to_owned(),
        folder.display().to_string(),
        "-p".to_owned(),
        port.to_string(),
    ];
    args.extend(
        SETTINGS
            .iter()
            .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]),
    );
    Ok(Spec {
        name: NAME.to_owned(),
        program: programs.join("postgres"),
        args,
        env: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
        folder,
        user,
        config: String::new(),
    })
}

/// What a killed server leaves behind. Call it only when no process of it is left.
pub(crate) fn clear_stale_lock(folder: &Path) {
    let _ = fs::remove_file(folder.join("postmaster.pid"));
}

/// Whether a server ended because the kernel had not yet taken down what was killed before it: a process that is no longer
/// to be seen can hold the shared memory for a moment.
pub(crate) fn met_its_predecessor(last_lines: &str) -> bool {
    last_lines.contains("pre-existing shared memory block")
}

/// Makes roles and databases, those that are missing.
pub(crate) fn create_databases(layout: &Layout, programs: &Path, port: u16) -> Result<()> {
    let existing = psql(layout, programs, port, "SELECT datname FROM pg_database")?;
    for owner in OWNERS {
        if existing.lines().any(|line| line == owner) {
            continue;
        }
        // The role may be there: a kill can fall between the two.
        psql(
            layout,
            programs,
            port,
            &format!(
                "DO $$ BEGIN CREATE ROLE {owner} LOGIN CREATEDB; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            ),
        )?;
        psql(
            layout,
            programs,
            port,
            &format!("CREATE DATABASE {owner} OWNER {owner}"),
        )?;
    }
    Ok(())
}

/// Removes the data, wherever it is.
pub(crate) fn delete(layout: &Layout) -> Result<()> {
    let link = layout.data(NAME);
    if let Ok(target) = fs::read_link(&link)
        && target.starts_with(ELSEWHERE)
        && target.exists()
    {
        fs::remove_dir_all(&target).context(format_args!("delete {}", target.display()))?;
    }
    Ok(())
}

fn psql(layout: &Layout, programs: &Path, port: u16, sql: &str) -> Result<String> {
    let output = Command::new(programs.join("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
        ])
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--username",
            "postgres",
        ])
        .args(["--dbname", "postgres", "--command", sql])
        .output()
        .context("start psql")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!("Postgres refused `{sql}`: {complaint}")).log(&layout.log(NAME)))
}

/// User and group to run as where we are root.
fn user() -> Result<Option<(u32, u32)>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    match User::from_name(NAME) {
        Ok(Some(user)) => Ok(Some((user.uid.as_raw(), user.gid.as_raw()))),
        _ => Err(
            Error::new("there is no system user `postgres` to run the database as")
                .remedy("install Debian's postgresql package, or work as a user other than root"),
        ),
    }
}

fn data_folder(layout: &Layout, user: Option<(u32, u32)>) -> Result<PathBuf> {
    let link = layout.data(NAME);
    if let Ok(folder) = fs::read_link(&link) {
        return Ok(folder);
    }
    if link.exists() || user.is_none() || open_to_others(layout.root()) {
        return Ok(link);
    }
    let id = random::hex::<8>()?;
    let folder = Path::new(ELSEWHERE).join(id);
    fs::create_dir_all(ELSEWHERE).context(format_args!("create {ELSEWHERE}"))?;
    symlink(&folder, &link).context(format_args!("link {}", link.display()))?;
    Ok(folder)
}

/// Whether every folder down to `path` lets other users pass.
fn open_to_others(path: &Path) -> bool {
    path.ancestors()
        .all(|folder| fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0))
}

/// Runs `initdb` beside the data folder and moves the result there, so that a killed one leaves nothing half done.
fn initialise(layout: &Layout, programs: &Path, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let draft = folder.with_extension("new");
    let _ = fs::remove_dir_all(&draft);
    let _ = fs::remove_dir(folder);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&draft)
        .context(format_args!("create {}", draft.display()))?;
    let mut command = Command::new(programs.join("initdb"));
    command.args([
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--pgdata",
    ]);
    command.arg(&draft).current_dir(&draft);
    if let Some((user, group)) = user {
        chown(&draft, Some(user), Some(group)).context(format_args!("give away {}", draft.display()))?;
        command.uid(user).gid(group);
    }
    let output = command.output().context("start initdb")?;
    let log = layout.log("postgres-init");
    let _ = fs::write(&log, [output.stdout, output.stderr].concat());
    if !output.status.success() {
        return Err(Error::new("initdb could not create the database's data folder").log(&log));
    }
    fs::rename(&draft, folder).context(format_args!("move the new data folder to {}", folder.display()))
}

/// Trust is for the loopback, and nothing else is listened to.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "jit=off",
];
