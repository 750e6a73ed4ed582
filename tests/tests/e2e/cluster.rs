//! Instances of the command service find each other by way of Kafka: heartbeats on the real topic, pings over real connections.

use command_service::cluster::Route;
use e2e::cluster::{SLOTS, divided, join, owned, warm};
use e2e::{DEADLINE, Setup, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn instances_find_each_other_and_take_over_from_each_other() {
    let pipeline = Setup::new("cluster").deploy().await;
    let first = join(&pipeline, "first").await;
    assert!(matches!(first.route(0), Route::Here), "it waits for nobody");
    tokio::time::timeout(DEADLINE, first.settled())
        .await
        .expect("the topic is read to its end");
    warm(&first);
    let second = join(&pipeline, "second").await;
    eventually("the second is seen", async || {
        (first.peers().len() == 1 && second.peers().len() == 1).then_some(())
    })
    .await;
    assert_eq!(first.peers()[0].http(), "http://second");
    eventually("the second, which is cold, decides nothing", async || {
        (owned(&first) == SLOTS && owned(&second) == 0).then_some(())
    })
    .await;
    warm(&second);
    divided(&[&first, &second]).await;

    // It ends without a word.
    drop(second);
    divided(&[&first]).await;

    // Its last heartbeat still stands there, and makes nobody wait.
    let third = join(&pipeline, "third").await;
    warm(&third);
    divided(&[&first, &third]).await;

    assert!(first.drain(DEADLINE).await, "everything is handed over");
    // Each reads the topic for itself: the third hears of it at about the time that the first does, maybe after it.
    eventually("the third has taken everything", async || {
        (owned(&third) == SLOTS).then_some(())
    })
    .await;
    first.leave().await;
    divided(&[&third]).await;
}
