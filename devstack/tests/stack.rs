//! A real stack: everything that was killed comes back on its data and its address, and nothing stays behind.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use devstack::process::{Processes, State};
use devstack::{Options, Signal, Stack};

fn root(name: &str) -> PathBuf {
    devstack::layout::workspace().join(format!(".local/test-{name}-{}", std::process::id()))
}

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

fn redis(stack: &Stack, command: &str) -> String {
    sh(&format!("redis-cli -u {} {command}", stack.endpoints().redis_url))
}

fn postgres(stack: &Stack, sql: &str) -> String {
    sh(&format!(
        "psql -XqtA '{}' -c \"{sql}\"",
        stack.endpoints().database_url
    ))
}

#[test]
fn what_was_killed_comes_back_with_its_data_and_address() {
    let root = root("kills");
    let mut options = Options::for_test(&root);
    options.keep = true;
    let stack = Stack::start(options.clone()).unwrap();
    let endpoints = stack.endpoints();
    postgres(&stack, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)");
    redis(&stack, "SET kept 7");

    for name in stack.names() {
        stack.kill(&name, Signal::SIGKILL).unwrap();
        assert_eq!(stack.processes().state(&name), State::Dead);
    }
    let again = Stack::start(options).unwrap();
    assert_eq!(again.endpoints(), endpoints);
    assert_eq!(postgres(&again, "SELECT n FROM kept"), "7");
    assert_eq!(redis(&again, "GET kept"), "7");
    for name in again.names() {
        again.kill(&name, Signal::SIGKILL).unwrap();
        again.restart(&name).unwrap();
    }
    assert_eq!(postgres(&again, "SELECT n FROM kept"), "7");

    again.stop().unwrap();
    assert!(Processes::new(again.layout().clone()).names().is_empty());
    devstack::stack::delete(&root).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn three_brokers_replicate_and_survive_one() {
    let root = root("brokers");
    let mut options = Options::for_test(&root);
    options.brokers = Some(3);
    let stack = Stack::start(options).unwrap();
    let tool = |words: &str| {
        let jars = devstack::install::components_folder();
        let version = &devstack::pins::pins().kafka.version;
        let java = "java -XX:+UseSerialGC -XX:TieredStopAtLevel=1";
        let classes = format!("{}/kafka-{version}/*", jars.display());
        let servers = stack.endpoints().kafka;
        sh(&format!(
            "{java} -cp '{classes}' org.apache.kafka.tools.{words} --bootstrap-server {servers} 2>/dev/null"
        ))
    };
    tool("TopicCommand --create --topic kept --partitions 3");
    let topic = tool("TopicCommand --describe --topic kept");
    assert!(topic.contains("ReplicationFactor: 3"), "{topic}");
    assert!(topic.contains("min.insync.replicas=2"), "{topic}");

    stack.kill("kafka-2", Signal::SIGKILL).unwrap();
    tool("TopicCommand --create --topic made-by-two --partitions 1 --replication-factor 2");
    stack.restart("kafka-2").unwrap();
    let topics = tool("TopicCommand --list");
    assert!(
        topics.contains("kept") && topics.contains("made-by-two"),
        "{topics}"
    );

    stack.stop().unwrap();
    devstack::stack::delete(&root).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
}
