//! Redis from Debian's package, as a private server with its append-only file on.

use std::fs;
use std::path::PathBuf;

use crate::error::{Context, Result};
use crate::layout::{Layout, write_atomically};
use crate::process::Spec;

/// The append-only file is not written anew before it is that large: each time costs the processor as much as seconds of load.
const REWRITE_FROM: &str = "512mb";

/// Writes the configuration and says how to start the server.
pub(crate) fn prepare(layout: &Layout, program: PathBuf, port: u16) -> Result<Spec> {
    let folder = layout.data("redis");
    fs::create_dir_all(&folder).context(format_args!("create {}", folder.display()))?;
    let file = layout.conf("redis.conf");
    let config = format!(
        "bind 127.0.0.1\nport {port}\ndir \"{}\"\nappendonly yes\nappendfsync everysec\n\
         auto-aof-rewrite-min-size {REWRITE_FROM}\nsave \"\"\ndaemonize no\n",
        folder.display()
    );
    write_atomically(&file, &config)?;
    let args = vec![file.display().to_string()];
    Ok(Spec {
        name: "redis".to_owned(),
        program,
        args,
        env: Vec::new(),
        folder,
        user: None,
        config,
    })
}
