//! What can be asked of orders and stock, and all that a decision may know besides the state.

use schemas::{Timestamp, Topic, orders::PlacedLine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What a decision may know beside state and command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The command's id, from which every id that it creates follows.
    pub command_id: Uuid,
    /// When it is decided.
    pub at: Timestamp,
}

/// The aggregate that a command is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Where its events are.
    pub topic: Topic,
    /// Order id or SKU: the key of its records.
    pub key: String,
}

/// A command to any aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// To an order.
    Order(OrderCommand),
    /// To the stock of a SKU.
    Stock(StockCommand),
}

/// A command to an order. The last five are the process manager's.
#[expect(missing_docs, reason = "the fields are those of the events that they lead to")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command")]
pub enum OrderCommand {
    /// Place an order; it is then `pending`.
    #[serde(rename = "PlaceOrder")]
    Place {
        order_id: Uuid,
        customer_id: String,
        currency: String,
        lines: Vec<PlacedLine>,
    },
    /// Pay a confirmed order in full.
    #[serde(rename = "PayOrder")]
    Pay {
        order_id: Uuid,
        amount_minor: i64,
        reference: String,
    },
    /// Ship a paid order.
    #[serde(rename = "ShipOrder")]
    Ship {
        order_id: Uuid,
        carrier: String,
        tracking_code: String,
    },
    /// Cancel an order that is not shipped.
    #[serde(rename = "CancelOrder")]
    Cancel { order_id: Uuid, reason: String },
    /// Put a note on an order, whatever its status.
    AddNote {
        order_id: Uuid,
        note_id: Uuid,
        author: String,
        text: String,
        reply_to: Option<Uuid>,
    },
    /// Close a confirmed order that was not paid until then, however long the payment window is.
    #[serde(rename = "ExpireOrder")]
    Expire { order_id: Uuid, due: Timestamp },
    /// The stock of a line is reserved.
    #[serde(rename = "RecordLineReserved")]
    RecordReserved { order_id: Uuid, line: i32 },
    /// The stock of a line was refused.
    #[serde(rename = "RecordLineRefused")]
    RecordRefused {
        order_id: Uuid,
        line: i32,
        reason: String,
    },
    /// The stock of a line was given back.
    #[serde(rename = "RecordLineReleased")]
    RecordReleased { order_id: Uuid, line: i32 },
    /// The stock of a line left the house.
    #[serde(rename = "RecordLineShipped")]
    RecordShipped { order_id: Uuid, line: i32 },
}

/// A command to the stock of a SKU. The last three are the process manager's.
#[expect(missing_docs, reason = "the fields are those of the events that they lead to")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command")]
pub enum StockCommand {
    /// Stock came in.
    #[serde(rename = "ReceiveStock")]
    Receive { sku: String, quantity: i64 },
    /// Correct what is on hand.
    #[serde(rename = "AdjustStock")]
    Adjust {
        sku: String,
        quantity: i64,
        reason: String,
    },
    /// Reserve stock for a line of an order.
    #[serde(rename = "ReserveStock")]
    Reserve {
        sku: String,
        order_id: Uuid,
        line: i32,
        quantity: i64,
    },
    /// Give a reservation back.
    #[serde(rename = "ReleaseStock")]
    Release { sku: String, order_id: Uuid, line: i32 },
    /// A reservation leaves the house.
    #[serde(rename = "ShipStock")]
    Ship { sku: String, order_id: Uuid, line: i32 },
}

impl Command {
    /// The command's name, as records of refusals carry it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Order(command) => match command {
                OrderCommand::Place { .. } => "PlaceOrder",
                OrderCommand::Pay { .. } => "PayOrder",
                OrderCommand::Ship { .. } => "ShipOrder",
                OrderCommand::Cancel { .. } => "CancelOrder",
                OrderCommand::AddNote { .. } => "AddNote",
                OrderCommand::Expire { .. } => "ExpireOrder",
                OrderCommand::RecordReserved { .. } => "RecordLineReserved",
                OrderCommand::RecordRefused { .. } => "RecordLineRefused",
                OrderCommand::RecordReleased { .. } => "RecordLineReleased",
                OrderCommand::RecordShipped { .. } => "RecordLineShipped",
            },
            Self::Stock(command) => match command {
                StockCommand::Receive { .. } => "ReceiveStock",
                StockCommand::Adjust { .. } => "AdjustStock",
                StockCommand::Reserve { .. } => "ReserveStock",
                StockCommand::Release { .. } => "ReleaseStock",
                StockCommand::Ship { .. } => "ShipStock",
            },
        }
    }

    /// About how much memory it takes up, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = match self {
            Self::Order(OrderCommand::Place { lines, .. }) => lines.len() * 96,
            Self::Order(OrderCommand::AddNote { author, text, .. }) => author.len() + text.len(),
            Self::Order(OrderCommand::Cancel { reason, .. }) => reason.len(),
            _ => 0,
        };
        512 + texts
    }

    /// The aggregate that the command is for.
    pub fn target(&self) -> Target {
        match self {
            Self::Order(command) => Target {
                topic: Topic::Orders,
                key: command.order_id().to_string(),
            },
            Self::Stock(command) => Target {
                topic: Topic::Stock,
                key: command.sku().to_owned(),
            },
        }
    }

    /// The command as JSON with sorted keys and no spaces: the body that the fingerprint of a command of our own is
    /// made over.
    pub fn canonical_json(&self) -> String {
        let mut text = Vec::with_capacity(160);
        write_sorted(&serde_json::to_value(self).unwrap_or(Value::Null), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

impl OrderCommand {
    /// The order.
    pub const fn order_id(&self) -> Uuid {
        match self {
            Self::Place { order_id, .. }
            | Self::Pay { order_id, .. }
            | Self::Ship { order_id, .. }
            | Self::Cancel { order_id, .. }
            | Self::AddNote { order_id, .. }
            | Self::Expire { order_id, .. }
            | Self::RecordReserved { order_id, .. }
            | Self::RecordRefused { order_id, .. }
            | Self::RecordReleased { order_id, .. }
            | Self::RecordShipped { order_id, .. } => *order_id,
        }
    }
}

impl StockCommand {
    /// The SKU.
    pub fn sku(&self) -> &str {
        match self {
            Self::Receive { sku, .. }
            | Self::Adjust { sku, .. }
            | Self::Reserve { sku, .. }
            | Self::Release { sku, .. }
            | Self::Ship { sku, .. } => sku,
        }
    }
}

impl From<OrderCommand> for Command {
    fn from(command: OrderCommand) -> Self {
        Self::Order(command)
    }
}

impl From<StockCommand> for Command {
    fn from(command: StockCommand) -> Self {
        Self::Stock(command)
    }
}

/// Sorts by itself, whatever order the JSON library was built to keep.
fn write_sorted(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push(b'{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write_scalar(name, text);
                text.push(b':');
                write_sorted(value, text);
            }
            text.push(b'}');
        }
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write_sorted(item, text);
            }
            text.push(b']');
        }
        scalar => write_scalar(scalar, text),
    }
}

fn write_scalar<T: Serialize + ?Sized>(scalar: &T, text: &mut Vec<u8>) {
    // Neither a string nor a number nor memory can refuse to be written.
    let _ = serde_json::to_writer(text, scalar);
}
