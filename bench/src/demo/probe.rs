//! How long a write takes until a read model shows it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{Demo, phases::single_line_body};
use crate::load::{Client, Latencies, Request, Response};

/// The model in Redis, as the query service names it.
pub(super) const REDIS: &str = "redis";
/// The model in Postgres.
pub(super) const POSTGRES: &str = "postgres";

const PATIENCE: Duration = Duration::from_mins(1);
/// Between two probes, so that they are no load of their own.
const PAUSE: Duration = Duration::from_millis(10);

/// What a probe found.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// From sending the order to reading it.
    pub(super) latencies: Latencies,
    /// The orders' keys and acknowledgements.
    pub(super) answers: Vec<(String, Response)>,
}

impl Demo {
    /// Places orders one after the other, and reads each from that model alone as soon as it is there.
    pub(super) fn probe(
        &self,
        model: &'static str,
        duration: Duration,
    ) -> impl Future<Output = anyhow::Result<Probed>> + use<> {
        let mut client = Prober::new(self, model);
        async move {
            let end = Instant::now() + duration;
            let mut probed = Probed::default();
            while Instant::now() < end {
                let begin = Instant::now();
                let (key, answer) = client.place(probed.answers.len(), "probe").await?;
                if answer.status == 201 {
                    client.read(&answer).await?;
                    probed.latencies.record(begin.elapsed());
                }
                probed.answers.push((key, answer));
                tokio::time::sleep(PAUSE).await;
            }
            Ok(probed)
        }
    }

    /// Places one order and says how long after its acknowledgement that model shows it: how far it is behind.
    pub(super) async fn probe_once(&mut self, model: &'static str) -> anyhow::Result<Duration> {
        let mut client = Prober::new(self, model);
        let (key, answer) = client.place(0, "behind").await?;
        self.note_probe(&key, &answer);
        let begin = Instant::now();
        client.read(&answer).await?;
        Ok(begin.elapsed())
    }
}

struct Prober {
    model: &'static str,
    run: String,
    command: Client,
    query: Client,
    targets: (crate::load::Target, crate::load::Target),
}

impl Prober {
    fn new(demo: &Demo, model: &'static str) -> Self {
        Self {
            model,
            run: demo.run.clone(),
            command: Client::new(&demo.command),
            query: Client::new(&demo.query),
            targets: (demo.command.clone(), demo.query.clone()),
        }
    }

    async fn place(&mut self, index: usize, kind: &str) -> anyhow::Result<(String, Response)> {
        let key = format!("demo-{}-{kind}-{}-{index}", self.run, self.model);
        let body = single_line_body(&self.run, index);
        let request = Request::post(&self.targets.0, "/v1/orders", &key, body.as_bytes());
        let answer = self.command.send(&request, PATIENCE).await?;
        Ok((key, answer))
    }

    /// A read that carries the write's token waits in the query service until the model is far enough.
    async fn read(&mut self, placed: &Response) -> anyhow::Result<()> {
        let token = placed
            .header("consistency-token")
            .context("the order's answer has no Consistency-Token")?;
        let body: Value = serde_json::from_slice(&placed.body)?;
        let path = format!("/v1/orders/{}", body["order_id"].as_str().unwrap_or_default());
        let headers = [
            ("consistency-token", token),
            ("prefer", "wait=20"),
            ("tailwater-model", self.model),
        ];
        let answer = self
            .query
            .send(&Request::get(&self.targets.1, &path, &headers), PATIENCE)
            .await?;
        ensure!(
            answer.status == 200,
            "GET {path} from {}: {}",
            self.model,
            answer.summary()
        );
        let from = answer.header("served-from").unwrap_or("nobody");
        ensure!(
            from == self.model,
            "GET {path} was to be served from {}, and was from {from}",
            self.model
        );
        Ok(())
    }
}
