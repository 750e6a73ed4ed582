//! What the services' OpenAPI documents share: the shape of a refusal. A document names both types among its components, as
//! their names in refusals alone do not bring them in.

use serde::Serialize;
use utoipa::ToSchema;

/// `application/problem+json`, RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `/problems/<slug>`, which is a page of this service.
    pub r#type: String,
    /// What kind of problem.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong in this case.
    pub detail: String,
    /// The members of a body that are wrong.
    pub errors: Option<Vec<FieldErrorBody>>,
    /// The aggregate's sequence.
    pub sequence: Option<u64>,
    /// What is available of the SKU.
    pub available: Option<i64>,
}

/// What is wrong with one member of a body.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldErrorBody {
    /// JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}
