//! Two writers on one partition, by mistake: slow, never wrong.

use std::collections::HashMap;
use std::time::Duration;

use command_service::engine::{self, EngineConfig, Handle, NotAnswered, Standing, Submission};
use command_service::shop::{Answer, Created, Key};
use command_service::writer::{Expected, Request};
use domain::{Command, StockCommand};
use e2e::{Setup, codec, effective, partition};
use eventlog::{Topic, Verdict, topics};
use schemas::{Event, StockEvent, Timestamp, ids};
use uuid::Uuid;

const COMMANDS: u64 = 6_000;
const CLIENTS: u64 = 32;

fn request(n: u64) -> Request<Command> {
    let sku = format!("sku-{}", n % 7);
    // Some adjustments take more than there can be: refusals are decided on the state, too.
    let command = match n % 3 {
        0 => StockCommand::Receive { sku, quantity: 2 },
        1 => StockCommand::Adjust {
            sku,
            quantity: -1,
            reason: "r".to_owned(),
        },
        _ => StockCommand::Adjust {
            sku,
            quantity: -3,
            reason: "r".to_owned(),
        },
    };
    let command = Command::Stock(command);
    Request {
        id: ids::command_id("test", "POST", "/", &n.to_string()),
        fingerprint: ids::fingerprint("", "", command.canonical_json().as_bytes()),
        at: Timestamp(1_000_000 + n.cast_signed()),
        expected: Expected::Any,
        causes: [].into(),
        traceparent: None,
        source: None,
        command,
    }
}

/// Asks one writer, then the other, until there is an answer. Every fifth command is asked of both at once.
async fn ask(writers: &[Handle; 2], n: u64) -> Answer {
    let mut at = usize::from(n % 2 == 1);
    if n.is_multiple_of(5) {
        let timeout = Duration::from_mins(1);
        let (a, b) = tokio::join!(
            writers[0].submit(Submission::now(request(n)), timeout),
            writers[1].submit(Submission::now(request(n)), timeout)
        );
        let [a, b] = [a, b].map(|decision| decision.and_then(Standing::answered).expect("an answer").answer);
        assert_eq!(a, b, "both writers give the same answer");
        return a;
    }
    loop {
        let decision = writers[at].submit(Submission::now(request(n)), Duration::from_secs(30));
        match decision.await.and_then(Standing::answered) {
            Ok(answered) => return answered.answer,
            Err(NotAnswered::Mismatch) => panic!("the request is the same"),
            Err(_) => at = 1 - at,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_one_partition_acknowledge_only_what_counts() {
    let pipeline = Setup::new("two").partitions(1).counts(0, 1, 0).start().await;
    let log = pipeline.log();
    let log_id = topics::log_id(&log, Duration::from_secs(10)).unwrap();
    let config = EngineConfig::new(log.clone(), log_id, 1);
    let first = engine::start(config.clone(), codec(&log).await).unwrap();
    let second = engine::start(config, codec(&log).await).unwrap();
    let writers = [first.handle, second.handle];
    for writer in &writers {
        writer.own_everything();
    }
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let writers = writers.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for n in (client..COMMANDS).step_by(usize::try_from(CLIENTS).unwrap()) {
                    answers.push((request(n).id, ask(&writers, n).await));
                }
                answers
            })
        })
        .collect();
    let mut answers: HashMap<Uuid, Answer> = HashMap::new();
    for client in clients {
        answers.extend(client.await.unwrap());
    }
    assert_eq!(answers.len(), usize::try_from(COMMANDS).unwrap());

    // A reader that knows nothing but the rule finds each of them once, with that answer.
    let codec = codec(&log).await;
    let records = effective(&log, partition(Topic::Stock, 0));
    let void = records
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Void(_)))
        .count();
    let mut stock: HashMap<String, (i64, u64)> = HashMap::new();
    let mut found: HashMap<Uuid, bool> = HashMap::new();
    for (record, verdict) in &records {
        let Verdict::Effective(envelope) = verdict else {
            continue;
        };
        let applied = match codec.decode(Topic::Stock, &record.value).unwrap() {
            Event::Stock(StockEvent::Received(event)) => Some((event.sku, event.quantity)),
            Event::Stock(StockEvent::Adjusted(event)) => Some((event.sku, event.quantity)),
            Event::Stock(StockEvent::CommandRejected(_)) => None,
            other => panic!("nobody asked for {other:?}"),
        };
        let answer = &answers[&envelope.command_id];
        match &applied {
            Some((sku, quantity)) => {
                let (on_hand, sequence) = stock.entry(sku.clone()).or_default();
                *on_hand += quantity;
                *sequence += 1;
                assert!(*on_hand >= 0, "an effective event is a legal decision");
                assert_eq!(
                    answer,
                    &Answer::Applied {
                        subject: Key::Stock(sku.as_str().into()),
                        created: Created::Nothing,
                        sequence: *sequence,
                        status: None
                    }
                );
            }
            None => assert!(matches!(answer, Answer::Refused { .. })),
        }
        let earlier = found.insert(envelope.command_id, applied.is_some());
        assert_eq!(earlier, None, "a command has one effective record");
    }
    assert_eq!(
        found.len(),
        answers.len(),
        "every acknowledged command is in the log"
    );
    println!("{} effective records, {void} void ones", found.len());
    assert!(void > 0, "the two writers did meet");
    // And so do the models.
    let report = pipeline.verify();
    assert_eq!(report["log"]["void"], void);
    assert_eq!(report["log"]["doubled"], 0);
}
