//! What an answer's body shows, as the model wants it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::model::{Reservation, ShownNote, ShownOrder};

/// An order as an answer shows it, with its notes where it has them.
pub(super) fn shown_order(json: &Value) -> Option<ShownOrder> {
    let sequence = json["sequence"].as_u64()?;
    let lines = json["lines"].as_array()?;
    let reservations = lines
        .iter()
        .map(|line| match line["reservation"].as_str()? {
            "pending" => Some(Reservation::Pending),
            "refused" => Some(Reservation::Refused),
            "reserved" => Some(Reservation::Reserved),
            "released" => Some(Reservation::Released),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    let notes = match &json["notes"] {
        Value::Array(notes) => Some(notes.iter().map(shown_note).collect::<Option<Vec<_>>>()?),
        _ => None,
    };
    let mut view = json.clone();
    view.as_object_mut()?.remove("notes");
    Some(ShownOrder {
        sequence,
        view: Some((hash(&view.to_string()), reservations)),
        notes,
    })
}

fn shown_note(json: &Value) -> Option<ShownNote> {
    let reply_to = match &json["reply_to"] {
        Value::String(id) => Some(id.parse().ok()?),
        _ => None,
    };
    Some(ShownNote {
        number: json["text"].as_str()?.parse().ok()?,
        id: json["note_id"].as_str()?.parse().ok()?,
        reply_to,
    })
}

/// Of two equal texts the same.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
