//! The query service's questions to the writers, while instances are killed.

use e2e::{DEADLINE, Setup, eventually};
use eventlog::{Positions, TokenKey, Topic, TopicPartition, topics};
use query_service::writers::Writers;
use service_kit::config::Secret;
use uuid::Uuid;

use crate::COMPONENTS;

const INSTANCES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn proofs_and_readings_survive_the_owner() {
    let _shared = COMPONENTS.lock().await;
    let pipeline = Setup::new("asked").counts(INSTANCES, 1, 1).start().await;
    let client = pipeline.client();
    let secret = Secret::new(pipeline.services.env()["TAILWATER_TOKEN_KEY"].clone());
    let log_id = topics::log_id(&pipeline.log(), DEADLINE).unwrap();
    let tokens = TokenKey::new(secret.expose().as_bytes(), log_id);
    let urls = pipeline.services.command_urls();
    let writers = Writers::new(urls.iter().map(|url| url.parse().unwrap()).collect(), &secret).unwrap();
    let all: Vec<TopicPartition> = TopicPartition::all(4).collect();
    for round in 0..2 * INSTANCES {
        eventually("the instances know each other", async || {
            for number in 1..=INSTANCES {
                let service = format!("command-service-{number}");
                if pipeline.metric(&service, "tailwater_cluster_members", "").await < 2.5 {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let mut seen = Positions::new();
        let (mut ids, mut skus) = (Vec::<Uuid>::new(), Vec::new());
        for n in 0..8 {
            let sku = format!("sku-{round}-{n}");
            let placed = client.place("alice", &[(&sku, 1)]).await.expect(201);
            ids.push(placed.text_of("order_id").parse().unwrap());
            seen.merge(&tokens.open(&placed.token()).unwrap());
            seen.merge(&tokens.open(&client.receive(&sku, 1).await).unwrap());
            skus.push(sku);
        }
        let victim = format!("command-service-{}", round % INSTANCES + 1);
        pipeline.kill(&victim);
        let proven = writers.prove(&all, DEADLINE).await.unwrap();
        for (partition, next_offset) in seen.iter() {
            assert!(proven.get(partition) >= Some(next_offset), "round {round}");
        }
        for id in &ids {
            let partition = orders_partition(*id);
            let reading = writers
                .order(*id, proven.get(partition).unwrap(), DEADLINE)
                .await
                .unwrap();
            assert_eq!(reading.partition, partition);
            assert!(reading.value.is_some(), "an order that was acknowledged is there");
        }
        for sku in &skus {
            let partition = TopicPartition {
                topic: Topic::Stock,
                partition: eventlog::partition_of(sku.as_bytes(), 4),
            };
            let reading = writers
                .stock(sku, proven.get(partition).unwrap(), DEADLINE)
                .await
                .unwrap();
            assert_eq!(reading.value.map(|stock| stock.on_hand), Some(1), "round {round}");
        }
        pipeline.services.restart(&victim).unwrap();
    }
    pipeline.verify();
}

fn orders_partition(id: Uuid) -> TopicPartition {
    TopicPartition {
        topic: Topic::Orders,
        partition: eventlog::partition_of(id.to_string().as_bytes(), 4),
    }
}
