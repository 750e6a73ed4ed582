//! Both services against their own OpenAPI documents: what schemathesis makes up of them is answered, and every answer is in
//! them. A test binary of its own, as it keeps the services busy for a minute.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use devstack::layout::workspace;
use e2e::{Answer, Client, Pipeline, Setup, eventually, key, send};
use serde_json::{Value, json};

/// Cases of both services together, about.
const CASES: usize = 5_000;
/// What each operation gets beside the random ones: edges of ranges, missing headers, other methods; about.
const CASES_OF_EDGES: usize = 60;
/// Operations that are streams: they have few cases, as each takes a second.
const STREAMS: usize = 2;
/// The same cases in each run, as far as the documents are the same.
const SEED: &str = "1";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_both_services_answer_as_their_documents_say() {
    let pipeline = Setup::new("openapi").start().await;
    let client = pipeline.client();
    let mut operations = 0;
    for url in [&client.command_url, &client.query_url] {
        let document: Value = reqwest::get(format!("{url}/openapi.json"))
            .await
            .expect("the service answers")
            .json()
            .await
            .expect("the document is JSON");
        let paths = document["paths"].as_object().expect("it has paths");
        operations += paths
            .values()
            .map(|path| path.as_object().map_or(0, serde_json::Map::len))
            .sum::<usize>();
    }
    let examples = (CASES / (operations - STREAMS))
        .saturating_sub(CASES_OF_EDGES)
        .max(30);
    let config = config(&pipeline, &client, examples).await;
    let run = |url: &str| {
        let (url, config) = (url.to_owned(), config.clone());
        tokio::task::spawn_blocking(move || schemathesis(&url, &config))
    };
    let (commands, queries) = tokio::join!(run(&client.command_url), run(&client.query_url));
    let mut cases = 0;
    for output in [commands.expect("a thread"), queries.expect("a thread")] {
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        cases += generated(&text);
    }
    println!("schemathesis: {cases} cases of {operations} operations, none answered outside the documents");
    assert!(cases * 10 >= CASES * 9, "{cases} cases");
    for service in pipeline.services.names() {
        let output = pipeline.output_of(&service);
        assert!(!output.contains("panicked"), "{service}: {output}");
    }
}

fn schemathesis(url: &str, config: &Path) -> Output {
    let program = std::env::var("TAILWATER_SCHEMATHESIS")
        .expect("TAILWATER_SCHEMATHESIS names the program: `cargo xtask test` sets it");
    Command::new(program)
        .arg("--config-file")
        .arg(config)
        .args(["run", &format!("{url}/openapi.json")])
        .args(["--seed", SEED, "--no-color"])
        .current_dir(config.parent().expect("a file is in a folder"))
        .output()
        .expect("schemathesis runs")
}

/// The number in the line `2350 generated, 2350 passed`.
fn generated(text: &str) -> usize {
    let found = text.lines().find_map(|line| {
        let (number, _) = line.trim().split_once(" generated")?;
        number.replace(',', "").parse().ok()
    });
    found.unwrap_or_else(|| panic!("it says how many cases: {text}"))
}

/// The configuration with what there is to ask for: orders of each status, stock, customers, commands, tokens.
async fn config(pipeline: &Pipeline, client: &Client, examples: usize) -> PathBuf {
    let mut answers = vec![
        client
            .post("/v1/stock/mug/receipts", &key(), &json!({"quantity": 1_000}))
            .await
            .expect(200),
    ];
    let mut orders = Vec::new();
    for (n, sku) in ["mug", "mug", "mug", "mug", "no-such-sku"]
        .into_iter()
        .enumerate()
    {
        let placed = client.place("alice", &[(sku, 1)]).await.expect(201);
        let path = format!("/v1/orders/{}", placed.text_of("order_id"));
        settled(client, &path, &placed).await;
        let steps = [
            ("notes", json!({"author": "alice", "text": "hurry"})),
            ("payments", json!({"amount_minor": 250, "reference": "card"})),
            ("shipments", json!({"carrier": "post", "tracking_code": "T1"})),
        ];
        for (step, body) in steps.iter().take(n) {
            let path = format!("{path}/{step}");
            answers.push(client.post(&path, &key(), body).await);
        }
        orders.push(placed.text_of("order_id"));
        answers.push(placed);
    }
    let tokens: Vec<String> = answers
        .iter()
        .filter_map(|answer| answer.header("consistency-token").map(str::to_owned))
        .collect();
    let commands: Vec<&Value> = answers
        .iter()
        .map(|answer| &answer.json["command_id"])
        .filter(|id| id.is_string())
        .collect();
    let topics = ["orders", "stock"].map(|of| format!("{}.{of}.events", pipeline.name));
    let folder = workspace().join("tests/openapi");
    let fixed =
        std::fs::read_to_string(folder.join("schemathesis.toml")).expect("the configuration is there");
    let fixed = fixed.replace("max-examples = 0", &format!("max-examples = {examples}"));
    let hooks = json!(folder.join("hooks.py"));
    let mut text = format!("hooks = {hooks}\n{fixed}");
    for (name, values) in [
        ("orders", json!(orders)),
        ("customers", json!(["alice", "nobody"])),
        ("skus", json!(["mug", "no-such-sku"])),
        ("commands", json!(commands)),
        ("tokens", json!(tokens)),
        ("topics", json!(topics)),
    ] {
        text.extend([
            "\n[dictionaries.",
            name,
            "]\nvalues = ",
            &values.to_string(),
            "\n",
        ]);
    }
    let file = pipeline.folder().join("schemathesis.toml");
    std::fs::write(&file, text).expect("the configuration can be written");
    file
}

/// Waits until every line of an order has its answer.
async fn settled(client: &Client, path: &str, placed: &Answer) {
    eventually("the order is settled", async || {
        let request = client.query(path).header("consistency-token", placed.token());
        let read = send(request).await;
        (read.status == 200 && read.json["status"] != "pending").then_some(())
    })
    .await;
}
