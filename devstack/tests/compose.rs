//! Holds `docker-compose.yml` and the recipes of our own images against the pins and the brokers' settings.

#![allow(clippy::unwrap_used)]

use std::fs;

use devstack::layout::workspace;
use devstack::pins::pins;

#[track_caller]
fn text(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}

#[test]
fn compose_runs_the_pinned_images() {
    let compose = text("docker-compose.yml");
    for component in ["kafka", "postgres", "redis", "registry"] {
        let variable = component.to_uppercase();
        let upstream = &pins().containers[component].upstream;
        let line = format!("image: ${{TAILWATER_IMAGE_{variable}:-{upstream}}}");
        assert!(compose.contains(&line), "docker-compose.yml has no `{line}`");
    }
}

#[test]
fn compose_gives_its_broker_the_settings_of_the_processes() {
    let compose = text("docker-compose.yml");
    for (key, value) in devstack::stack::broker_settings(1) {
        let variable = format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
        let line = compose
            .lines()
            .find(|line| line.trim().starts_with(&format!("{variable}:")));
        let found = line
            .and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.trim_matches('"'));
        assert_eq!(found, Some(value.as_str()), "{variable} in docker-compose.yml");
    }
}

#[test]
fn our_own_images_are_of_the_pinned_versions() {
    let debian = &pins().debian["12"];
    let postgres = text("deploy/images/postgres/Dockerfile");
    assert!(postgres.contains(&format!(" postgresql-{} ", debian.postgres)));
    for component in ["kafka", "registry"] {
        let recipe = text(&format!("deploy/images/{component}/Dockerfile"));
        assert!(
            recipe.contains(&format!(" openjdk-{}-jre-headless ", debian.java)),
            "{component}"
        );
    }
    let names: Vec<&str> = ["kafka", "postgres", "redis", "registry"].to_vec();
    for name in names {
        let image = &pins().containers[name];
        let tag = |image: &str| image.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        assert_eq!(tag(&image.upstream), tag(&image.local), "{name}");
        let recipe = text(&format!("deploy/images/{name}/Dockerfile"));
        assert!(
            recipe.contains(&format!("FROM {}", pins().containers["base"].upstream)),
            "{name}"
        );
    }
}
