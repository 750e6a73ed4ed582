//! Without Kafka nobody can say that it is there. That alone makes nobody gone.

use std::time::{Duration, Instant};

use e2e::cluster::{divided, join, warm};
use e2e::{Setup, components};

use crate::COMPONENTS;

/// Twice as long as a member without heartbeats is believed to be there.
const OUTAGE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn members_stay_while_kafka_is_down_and_pings_decide() {
    let _alone = COMPONENTS.lock().await;
    let pipeline = Setup::new("quiet").deploy().await;
    let [first, second] = [join(&pipeline, "first").await, join(&pipeline, "second").await];
    warm(&first);
    warm(&second);
    divided(&[&first, &second]).await;

    components().kill("kafka-1");
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let down = Instant::now();
    while down.elapsed() < OUTAGE {
        looks.tick().await;
        let seen = first.peers().len() + second.peers().len();
        assert_eq!(seen, 2, "after {:?}", down.elapsed());
    }
    drop(second);
    divided(&[&first]).await;

    // It hears again once Kafka is back.
    components().restart("kafka-1");
    let third = join(&pipeline, "third").await;
    warm(&third);
    let begun = Instant::now();
    divided(&[&first, &third]).await;
    println!("heard after {:?}", begun.elapsed());
}
