//! Why a command is refused, in the terms of the HTTP contract: slug, title and status.

/// A command was understood and refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Which kind of refusal.
    pub reason: Reason,
    /// What stood against it, for people.
    pub detail: String,
    /// How much could have been taken, where that was the reason.
    pub available: Option<i64>,
    /// The aggregate's sequence; `None` where there is no such aggregate.
    pub sequence: Option<u64>,
}

impl Refusal {
    /// A refusal without further particulars.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            available: None,
            sequence: None,
        }
    }

    /// With the sequence that the aggregate has.
    #[must_use]
    pub fn at(mut self, sequence: u64) -> Self {
        self.sequence = Some(sequence);
        self
    }

    /// With what could have been taken.
    #[must_use]
    pub fn with_available(mut self, available: i64) -> Self {
        self.available = Some(available);
        self
    }

    /// The expected version is not the aggregate's; 0 stands for one that does not exist.
    pub fn version_mismatch(sequence: u64) -> Self {
        let detail = match sequence {
            0 => "there is nothing here yet that could have that version".to_owned(),
            _ => format!("the version is {sequence}"),
        };
        Self {
            sequence: (sequence > 0).then_some(sequence),
            ..Self::new(Reason::VersionMismatch, detail)
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident $status:literal $slug:literal $title:literal $explanation:literal;)*) => {
        /// The kinds of refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $reason),* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// The end of the problem's `type`: `/problems/<slug>`. Frozen.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$reason => $slug),* }
            }

            /// The problem's `title`.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$reason => $title),* }
            }

            /// What it means and what can be done, for the page behind the problem's `type`.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$reason => $explanation),* }
            }

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$reason => $status),* }
            }

            /// The reason of that slug.
            pub fn from_slug(slug: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.slug() == slug)
            }
        }
    };
}

reasons! {
    /// No order of that id.
    OrderNotFound 404 "order-not-found" "No such order"
        "No order with this id was ever placed.";
    /// No stock of that SKU was ever received.
    StockNotFound 404 "stock-not-found" "No such stock"
        "Nothing was ever received under this SKU. The first receipt creates it.";
    /// Only a confirmed order can be paid.
    NotPayable 409 "not-payable" "The order cannot be paid now"
        "Only a confirmed order can be paid: every line's stock is reserved, and it is not paid, shipped or closed.";
    /// A payment must be the order's total.
    WrongAmount 409 "wrong-amount" "The amount is not the order's total"
        "An order is paid in full, by one payment of exactly its total.";
    /// Only a paid order can be shipped.
    NotShippable 409 "not-shippable" "The order cannot be shipped now"
        "Only a paid order can be shipped, and only once.";
    /// A shipped or closed order cannot be cancelled.
    NotCancellable 409 "not-cancellable" "The order cannot be cancelled any more"
        "An order can be cancelled until it is shipped, and while it is not rejected, cancelled or expired.";
    /// Only a confirmed order that is not paid can expire.
    NotExpirable 409 "not-expirable" "The order cannot expire now"
        "Only an order that is confirmed and not paid can expire.";
    /// Less is available than is to be taken.
    InsufficientStock 409 "insufficient-stock" "Not enough is available"
        "Available is what is on hand less what is reserved, and it is never negative.";
    /// The quantity on hand would not fit.
    StockTooLarge 409 "stock-too-large" "The quantity on hand would be too large"
        "A quantity on hand fits 63 bits.";
    /// The note to answer is not on this order.
    UnknownReplyTo 409 "unknown-reply-to" "The note to reply to is not on this order"
        "reply_to names a note that is already on the same order.";
    /// `If-Match` names another version.
    VersionMismatch 412 "version-mismatch" "The version is another one"
        "If-Match named another sequence than the aggregate has. Read it again, and decide again.";
    /// What is to be created is there already.
    AlreadyExists 409 "already-exists" "It exists already"
        "What this command creates exists already.";
    /// A step of the process manager that has happened already.
    AlreadyDone 409 "already-done" "It is done already"
        "This step of an order's processing has happened already; its repeat changes nothing.";
    /// A step of the process manager that does not fit the state.
    UnexpectedStep 409 "unexpected-step" "The step does not fit the state"
        "This step of an order's processing does not follow from the order's or the stock's state.";
    /// The command could never be carried out, whatever the state.
    InvalidCommand 422 "invalid-command" "The command is not valid"
        "No state would allow this command.";
}
