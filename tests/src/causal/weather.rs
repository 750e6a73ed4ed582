//! What is done to the services while clients are at work. Each thing is undone when it has been there for a while.

use std::time::Duration;

use devstack::Signal;

use crate::components::forget_in_redis;
use crate::pipeline::Pipeline;

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weather {
    PauseProjector,
    PauseAllProjectors,
    KillProjector,
    KillQueryService,
    EmptyRedis,
}

/// What happens next: each thing once, in any order, then again.
#[derive(Debug, Default)]
pub(super) struct Forecast(Vec<Weather>);

impl Forecast {
    /// The next.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng) -> Weather {
        if self.0.is_empty() {
            self.0 = vec![
                Weather::PauseProjector,
                Weather::PauseAllProjectors,
                Weather::KillProjector,
                Weather::KillQueryService,
                Weather::EmptyRedis,
            ];
            rng.shuffle(&mut self.0);
        }
        self.0.pop().unwrap_or(Weather::EmptyRedis)
    }
}

impl Weather {
    /// As it is counted.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PauseProjector => "projector paused",
            Self::PauseAllProjectors => "all projectors paused",
            Self::KillProjector => "projector killed",
            Self::KillQueryService => "query service killed",
            Self::EmptyRedis => "Redis emptied",
        }
    }

    /// Makes it happen, and has it over at the end.
    pub(super) async fn happen(self, pipeline: &Pipeline, rng: &mut fastrand::Rng) {
        let named = |program: &str| -> Vec<String> {
            let names = pipeline.services.names();
            names
                .into_iter()
                .filter(|name| name.starts_with(program))
                .collect()
        };
        let mut projectors = named("projector-");
        let mut one_of = |mut names: Vec<String>| names.swap_remove(rng.usize(..names.len()));
        match self {
            Self::PauseProjector => {
                let one = one_of(projectors);
                pause(pipeline, &[one], rng).await;
            }
            Self::PauseAllProjectors => {
                projectors.sort();
                pause(pipeline, &projectors, rng).await;
            }
            Self::KillProjector => kill(pipeline, &one_of(projectors), rng).await,
            Self::KillQueryService => {
                let one = one_of(named("query-service-"));
                kill(pipeline, &one, rng).await;
            }
            Self::EmptyRedis => forget_in_redis(&pipeline.name).await,
        }
    }
}

async fn pause(pipeline: &Pipeline, names: &[String], rng: &mut fastrand::Rng) {
    for name in names {
        pipeline.signal(name, Signal::SIGSTOP);
    }
    // Longer than a read waits, now and then.
    tokio::time::sleep(Duration::from_millis(rng.u64(100..2_500))).await;
    for name in names {
        pipeline.signal(name, Signal::SIGCONT);
    }
}

async fn kill(pipeline: &Pipeline, name: &str, rng: &mut fastrand::Rng) {
    tokio::task::block_in_place(|| pipeline.kill(name));
    tokio::time::sleep(Duration::from_millis(rng.u64(0..1_000))).await;
    tokio::task::block_in_place(|| pipeline.services.restart(name)).expect("the service starts again");
}
