//! Order events as JSON text and back: what is kept of them beside the log.
//!
//! The same JSON as [`crate::Event::data`], rendered without a tree in between, since a projector does it for each event.
//! `occurred_at` stands beside it wherever an event is shown or kept, and so does the record's name: both are needed on the
//! way back.

use serde::{
    Serialize,
    de::{DeserializeOwned, Error as _},
};

use crate::{
    Event, OrderEvent, Timestamp, Topic,
    definitions::{self, Sink, Source},
};

/// What `data` begins with before the time is taken out: each record's first field.
const HEAD: &str = "{\"occurred_at\":";

/// A text that is not the data of an event.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No record of the topic has that name.
    #[error("no event of an order is called {0:?}")]
    UnknownName(String),
    /// It is no JSON, or not of that record.
    #[error("the data is not that of the record")]
    Json(#[from] serde_json::Error),
}

struct ToText;

impl Sink for ToText {
    type Output = serde_json::Result<String>;

    fn take<T: Serialize>(self, record: &T) -> Self::Output {
        serde_json::to_string(record)
    }
}

struct FromText(String);

impl Source for FromText {
    type Error = serde_json::Error;

    fn give<T: DeserializeOwned>(self) -> Result<T, Self::Error> {
        serde_json::from_str(&self.0)
    }
}

impl OrderEvent {
    /// The record's name without its namespace: `OrderPlaced`.
    pub fn short_name(&self) -> &'static str {
        definitions::all()[definitions::index(self)].short_name
    }

    /// The record as JSON, without `occurred_at`: the text of [`Event::data`].
    ///
    /// # Errors
    /// Never, as long as a record is made of what JSON has.
    pub fn data_json(&self) -> serde_json::Result<String> {
        let mut text = definitions::hand_over(self, ToText)?;
        let rest = text
            .strip_prefix(HEAD)
            .map(|rest| rest.trim_start_matches(|byte: char| byte == '-' || byte.is_ascii_digit()));
        match rest {
            // `,"order_id":…}`, or `}` where the time is all there is.
            Some(rest) => {
                let cut = text.len() - rest.len() + usize::from(rest.starts_with(','));
                text.replace_range(1..cut, "");
                Ok(text)
            }
            None => serde_json::to_string(&Event::from(self.clone()).data()),
        }
    }

    /// The inverse of [`OrderEvent::data_json`].
    pub fn from_data(short_name: &str, occurred_at: Timestamp, data: &str) -> Result<Self, DataError> {
        let unknown = || DataError::UnknownName(short_name.to_owned());
        let index = definitions::all()
            .iter()
            .position(|def| def.topic == Topic::Orders && def.short_name == short_name)
            .ok_or_else(unknown)?;
        let no_object = || serde_json::Error::custom("it is no object");
        let fields = data.strip_prefix('{').ok_or_else(no_object)?;
        let comma = if fields.trim_start().starts_with('}') {
            ""
        } else {
            ","
        };
        let text = format!("{HEAD}{}{comma}{fields}", occurred_at.micros());
        match definitions::make(index, FromText(text)) {
            Some(Ok(Event::Order(event))) => Ok(event),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Event::Stock(_))) | None => Err(unknown()),
        }
    }
}
