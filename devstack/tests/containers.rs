//! The components as containers: ready, killed, back on their data and addresses, and gone without a trace.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use devstack::containers::Containers;
use devstack::images::Source;
use devstack::{Options, Signal};

#[track_caller]
fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "wants a Docker engine: `cargo xtask test` runs it where one answers"]
fn what_was_killed_comes_back_with_its_data_and_address() {
    let root = devstack::layout::workspace().join(format!(".local/test-containers-{}", std::process::id()));
    let mut options = Options::for_test(&root);
    options.brokers = Some(3);
    let mut stack = Containers::start(&options, Source::from_env()).unwrap();
    let endpoints = stack.endpoints();
    let psql = |sql: &str| sh(&format!("psql -XqtA '{}' -c \"{sql}\"", endpoints.database_url));
    psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    sh(&format!("redis-cli -u {} SET kept 7", endpoints.redis_url));

    for name in stack.names() {
        stack.kill(&name, Signal::SIGKILL).unwrap();
        stack.restart(&name).unwrap();
    }
    assert_eq!(stack.endpoints(), endpoints);
    assert_eq!(psql("SELECT n FROM kept"), "7");
    assert_eq!(sh(&format!("redis-cli -u {} GET kept", endpoints.redis_url)), "7");

    stack.stop().unwrap();
    let label = format!("label=tailwater.stack={}", stack.layout().root().display());
    assert_eq!(sh(&format!("docker ps --all --quiet --filter {label}")), "");
    std::fs::remove_dir_all(&root).unwrap();
}
