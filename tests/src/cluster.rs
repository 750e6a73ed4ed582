//! Instances of the command service as the others see them: heartbeats and pings, and no engine behind them.

use std::net::SocketAddr;

use command_service::cluster::{Cluster, ClusterConfig, Held, MemberState};
use command_service::engine::Role;
use service_kit::config::Secret;

use crate::{Pipeline, eventually};

/// Slots that members divide among them: so many that each of three owns some.
pub const SLOTS: usize = 64;

/// One more member, which holds nothing yet. Kafka need not be there.
pub async fn join(pipeline: &Pipeline, name: &str) -> Cluster {
    let config = ClusterConfig {
        log: pipeline.log(),
        slots: SLOTS,
        name: name.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        host: "127.0.0.1".to_owned(),
        http: format!("http://{name}"),
        secret: Secret::new("0123456789abcdef"),
    };
    Cluster::start(config).await.expect("a cluster starts")
}

/// Says that the member could decide on everything.
pub fn warm(cluster: &Cluster) {
    let held = Held {
        next_offset: 0,
        warm: true,
    };
    cluster.set_held((0..SLOTS).map(|slot| (slot, held)));
    cluster.set_state(MemberState::Ready);
}

/// How many slots it decides on.
pub fn owned(cluster: &Cluster) -> usize {
    let roles = cluster.roles();
    roles.iter().filter(|role| **role == Role::Owner).count()
}

/// Waits until these, and nobody else, divide the slots among them.
pub async fn divided(clusters: &[&Cluster]) {
    eventually("they divide the slots", async || {
        let owned: Vec<_> = clusters.iter().map(|cluster| owned(cluster)).collect();
        let each_slot_once = owned.iter().sum::<usize>() == SLOTS && !owned.contains(&0);
        let no_other = clusters
            .iter()
            .all(|cluster| cluster.peers().len() == clusters.len() - 1);
        (each_slot_once && no_other).then_some(())
    })
    .await;
}
