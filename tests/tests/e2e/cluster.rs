//! Instances of the command service find each other by way of Kafka: heartbeats on the real topic, pings over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use command_service::cluster::{Cluster, ClusterConfig, Held, MemberState, Role, Route};
use e2e::{Pipeline, Setup, eventually};
use service_kit::config::Secret;

const SLOTS: usize = 64;
const DEADLINE: Duration = Duration::from_secs(30);

async fn join(pipeline: &Pipeline, name: &str) -> Cluster {
    let config = ClusterConfig {
        log: pipeline.log(),
        slots: SLOTS,
        name: name.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        host: "127.0.0.1".to_owned(),
        http: format!("http://{name}"),
        secret: Secret::new("0123456789abcdef"),
    };
    let cluster = Cluster::start(config).await.expect("a cluster starts");
    tokio::time::timeout(DEADLINE, cluster.settled())
        .await
        .expect("the topic is read to its end");
    cluster
}

fn warm(cluster: &Cluster) {
    let held = Held {
        next_offset: 0,
        warm: true,
    };
    cluster.set_held((0..SLOTS).map(|slot| (slot, held)));
    cluster.set_state(MemberState::Ready);
}

fn owned(cluster: &Cluster) -> usize {
    let roles = cluster.roles();
    roles.iter().filter(|role| **role == Role::Owner).count()
}

async fn see(clusters: &[&Cluster]) {
    eventually("they divide the slots", DEADLINE, async || {
        let owned: Vec<_> = clusters.iter().map(|cluster| owned(cluster)).collect();
        let divided = owned.iter().sum::<usize>() == SLOTS && !owned.contains(&0);
        let all = clusters
            .iter()
            .all(|cluster| cluster.peers().len() == clusters.len() - 1);
        (divided && all).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_find_each_other_and_take_over_from_each_other() {
    let pipeline = Setup::new("cluster").deploy().await;
    let first = join(&pipeline, "first").await;
    assert!(matches!(first.route(0), Route::Here), "it is alone");
    warm(&first);
    let second = join(&pipeline, "second").await;
    eventually("the second is seen", DEADLINE, async || {
        (first.peers().len() == 1 && second.peers().len() == 1).then_some(())
    })
    .await;
    assert_eq!(first.peers()[0].http(), "http://second");
    assert_eq!((owned(&first), owned(&second)), (SLOTS, 0), "the second is cold");
    warm(&second);
    see(&[&first, &second]).await;

    // It ends without a word.
    drop(second);
    see(&[&first]).await;

    // Its last heartbeat still stands there, and makes nobody wait.
    let third = join(&pipeline, "third").await;
    warm(&third);
    see(&[&first, &third]).await;

    assert!(first.drain(DEADLINE).await, "everything is handed over");
    assert_eq!(owned(&third), SLOTS);
    first.leave().await;
    see(&[&third]).await;
}
