//! Each kind of read, and what becomes of its answers: one table, which the documentation shows word for word.
//!
//! What is not in here is not cached. How an answer is known to be still true is the business of [`tags`](super::tags).

use std::time::Duration;

/// A kind of read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Order,
    Stock,
    Customer,
    CustomerRest,
    History,
    Past,
    Version,
    Positions,
    Sales,
    Top,
}

/// What becomes of the answers of one kind.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "what people read is not asked for by the program")]
pub(crate) struct Policy {
    pub(crate) kind: Kind,
    /// What is asked.
    pub(crate) read: &'static str,
    /// What is kept of it in this process, if anything.
    pub(crate) kept: Option<Kept>,
    /// Who answers, in the order in which they are asked.
    pub(crate) tiers: &'static str,
    /// Of answers that carry no problem.
    pub(crate) cache_control: &'static str,
    /// Why so.
    pub(crate) why: &'static str,
}

/// What is kept in memory.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "what people read is not asked for by the program")]
pub(crate) struct Kept {
    /// What.
    pub(crate) what: &'static str,
    /// What invalidates it.
    pub(crate) tags: &'static str,
    /// How long at most, true or not.
    pub(crate) age_max: Duration,
    /// How long the tail may not have been known to have everything. After that, models are asked first.
    pub(crate) silence_max: Duration,
}

/// A client keeps it, and asks each time whether it is still true.
pub(crate) const VALIDATE: &str = "private, no-cache";
/// Anybody may keep it for a moment.
pub(crate) const SHARED: &str = "public, max-age=5";
/// A client keeps it: it stays as it is.
pub(crate) const LASTING: &str = "private, max-age=3600, immutable";
/// Nobody keeps it.
pub(crate) const NO_STORE: &str = "no-store";

/// The table, in the order of [`Kind`].
pub(crate) const POLICIES: [Policy; 10] = [
    Policy {
        kind: Kind::Order,
        read: "`GET /v1/orders/{id}`",
        kept: Some(Kept {
            what: "the order, or that there is none",
            tags: "the order",
            age_max: Duration::from_mins(10),
            silence_max: Duration::from_secs(3),
        }),
        tiers: "memory, redis, postgres, writer",
        cache_control: VALIDATE,
        why: "read far more often than it changes, mostly by whoever waits for it to change: 304 costs no body",
    },
    Policy {
        kind: Kind::Stock,
        read: "`GET /v1/stock/{sku}`",
        kept: Some(Kept {
            what: "the stock, or that there is none",
            tags: "the SKU",
            age_max: Duration::from_mins(10),
            silence_max: Duration::from_secs(3),
        }),
        tiers: "memory, redis, postgres, writer",
        cache_control: VALIDATE,
        why: "a few SKUs are hot and change often: one fill for all who ask, and no answer older than its token",
    },
    Policy {
        kind: Kind::Customer,
        read: "`GET /v1/customers/{id}/orders`, first page, no filter",
        kept: Some(Kept {
            what: "the page, for each `limit`",
            tags: "the customer, and each order on the page",
            age_max: Duration::from_mins(10),
            silence_max: Duration::from_secs(3),
        }),
        tiers: "memory, postgres",
        cache_control: VALIDATE,
        why: "what a customer's own page shows; it depends on all partitions, and each has its tags",
    },
    Policy {
        kind: Kind::CustomerRest,
        read: "the same with `status`, `from`, `to` or `cursor`",
        kept: None,
        tiers: "postgres",
        cache_control: VALIDATE,
        why: "too many different ones, each asked for once; an index answers",
    },
    Policy {
        kind: Kind::History,
        read: "`GET /v1/orders/{id}/history`",
        kept: None,
        tiers: "postgres",
        cache_control: VALIDATE,
        why: "asked for seldom, and long; only Postgres has it",
    },
    Policy {
        kind: Kind::Past,
        read: "`GET /v1/orders/{id}?as_of=`",
        kept: None,
        tiers: "postgres",
        cache_control: VALIDATE,
        why: "asked for seldom; what happened by then may not be known yet",
    },
    Policy {
        kind: Kind::Version,
        read: "`GET /v1/orders/{id}?at_sequence=`",
        kept: None,
        tiers: "postgres",
        cache_control: LASTING,
        why: "a version never changes, so its reader may keep it; a read with a token gets one of its own",
    },
    Policy {
        kind: Kind::Positions,
        read: "`GET /v1/positions`",
        kept: None,
        tiers: "redis, postgres",
        cache_control: NO_STORE,
        why: "asked for once by whoever starts, who wants to start as late as possible",
    },
    Policy {
        kind: Kind::Sales,
        read: "`GET /v1/products/{sku}/sales`",
        kept: None,
        tiers: "postgres",
        cache_control: SHARED,
        why: "a few seconds do not matter to a statistic, so any cache on the way may answer; a read with a token is private",
    },
    Policy {
        kind: Kind::Top,
        read: "`GET /v1/products/top`",
        kept: Some(Kept {
            what: "the list, for each period",
            tags: "the sales, in all partitions",
            age_max: Duration::from_mins(1),
            silence_max: Duration::from_secs(30),
        }),
        tiers: "memory, postgres",
        cache_control: SHARED,
        why: "the same for everybody, and the dearest to make",
    },
];

impl Kind {
    /// The kind's row.
    pub(crate) const fn policy(self) -> &'static Policy {
        &POLICIES[self as usize]
    }

    /// As a label of metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Stock => "stock",
            Self::Customer => "customer",
            Self::CustomerRest => "customer-rest",
            Self::History => "history",
            Self::Past => "past",
            Self::Version => "version",
            Self::Positions => "positions",
            Self::Sales => "sales",
            Self::Top => "top",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn the_rows_are_in_the_order_of_their_kinds() {
        for policy in &POLICIES {
            assert_eq!(policy.kind.policy().read, policy.read);
            assert_eq!(policy.kept.is_some(), policy.tiers.starts_with("memory"));
        }
    }

    /// As the documentation has it.
    fn table() -> String {
        let mut table = String::from(
            "| read | kept in memory | until | at most | who is asked | `Cache-Control` | why |\n|---|---|---|---|---|---|---|\n",
        );
        for policy in &POLICIES {
            let (what, until, at_most) = policy.kept.map_or_else(
                || ("nothing".to_owned(), String::new(), String::new()),
                |kept| {
                    let at_most = format!(
                        "{} s; {} s without word from the log",
                        kept.age_max.as_secs(),
                        kept.silence_max.as_secs()
                    );
                    (
                        kept.what.to_owned(),
                        format!("an event of {}", kept.tags),
                        at_most,
                    )
                },
            );
            let Policy {
                read,
                tiers,
                cache_control,
                why,
                ..
            } = policy;
            writeln!(
                table,
                "| {read} | {what} | {until} | {at_most} | {tiers} | `{cache_control}` | {why} |"
            )
            .unwrap();
        }
        table
    }

    #[test]
    fn the_documentation_shows_the_table() {
        let page = include_str!("../../../docs/the-cache.md");
        assert!(
            page.contains(&table()),
            "docs/the-cache.md must have this:\n{}",
            table()
        );
    }
}
