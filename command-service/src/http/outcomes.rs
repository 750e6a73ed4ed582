//! What became of a command.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use eventlog::PlainTopic;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;
use serde_json::value::RawValue;
use service_kit::Problem;
use service_kit::path::{self, Params};
use service_kit::problem::kinds;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Api;
use super::answer::shape;
use super::command::problem;
use crate::engine::Standing;
use crate::shop::Answer;

/// A command and what became of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Outcome {
    command_id: Uuid,
    /// `accepted`, `applied` or `rejected`.
    state: &'static str,
    /// What its caller was answered, or would have been; null while it waits.
    answer: Option<OutcomeAnswer>,
    /// Where its record is: among the accepted commands while it waits, then among the events.
    topic: String,
    partition: Option<i32>,
    offset: Option<i64>,
    /// Its way so far.
    steps: Vec<OutcomeStep>,
}

/// What a command's caller was answered.
#[derive(Serialize, ToSchema)]
pub(super) struct OutcomeAnswer {
    status: u16,
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

/// One step of a command's way.
#[derive(Serialize, ToSchema)]
pub(super) struct OutcomeStep {
    /// `accepted` or `appended`.
    step: &'static str,
    topic: String,
    partition: i32,
    offset: i64,
}

/// What became of a command, whichever instance carried it out.
#[utoipa::path(get, path = "/v1/commands/{command_id}", tag = "commands",
    params(super::openapi::CommandPath),
    responses((status = 200, body = Outcome), super::openapi::Unknown))]
pub(super) async fn outcome(
    State(api): State<Arc<Api>>,
    Params(id): Params<String>,
) -> Result<Response, Problem> {
    let id = path::uuid("command id", &id)?;
    let Some(standing) = api.instance.look_up(id).await.map_err(problem)? else {
        return Err(Problem::of(
            &kinds::COMMAND_NOT_FOUND,
            format!("No command {id} is known. Commands are remembered for 24 hours."),
        ));
    };
    let outcome = match standing {
        Standing::Accepted(place) => {
            let topic = PlainTopic::Commands.name(&api.prefix);
            let step = place.map(|(partition, offset)| OutcomeStep {
                step: "accepted",
                topic: topic.clone(),
                partition,
                offset,
            });
            Outcome {
                command_id: id,
                state: "accepted",
                answer: None,
                topic,
                partition: place.map(|(partition, _)| partition),
                offset: place.map(|(_, offset)| offset),
                steps: step.into_iter().collect(),
            }
        }
        Standing::Answered(answered) => {
            let shape = shape(&answered.answer, id);
            let topic = answered.partition.topic.name(&api.prefix);
            let (partition, offset) = (answered.partition.partition, answered.next_offset - 1);
            let body = String::from_utf8_lossy(&shape.body).into_owned();
            Outcome {
                command_id: id,
                state: match answered.answer {
                    Answer::Applied { .. } => "applied",
                    Answer::Refused { .. } => "rejected",
                },
                answer: RawValue::from_string(body).ok().map(|body| OutcomeAnswer {
                    status: shape.status.as_u16(),
                    body,
                }),
                topic: topic.clone(),
                partition: Some(partition),
                offset: Some(offset),
                steps: vec![OutcomeStep {
                    step: "appended",
                    topic,
                    partition,
                    offset,
                }],
            }
        }
    };
    let body = serde_json::to_string(&outcome).unwrap_or_default();
    Ok((
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")],
        body,
    )
        .into_response())
}
