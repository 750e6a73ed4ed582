//! Two generations in one database, compared there: what leaves it is digests.

use std::collections::BTreeMap;

use eventlog::{Positions, Topic, TopicPartition};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{CheckpointRow, checkpoint, index, options, schema};
use crate::compare::{Comparison, Kind, Look, Part, bounds, compare};
use crate::store::StoreError;

/// A table, which rows of it are compared, and what names a row. The name of a sum begins with its partition.
struct Table {
    name: &'static str,
    rows: &'static str,
    key: &'static str,
    row_name: &'static str,
    part: Part,
}

const TABLES: [Table; 3] = [
    Table {
        name: "order",
        rows: "orders",
        key: "order_id",
        row_name: "order_id::text",
        part: Part::Rows,
    },
    Table {
        name: "stock of",
        rows: "stock",
        key: "sku",
        row_name: "sku",
        part: Part::Rows,
    },
    Table {
        name: "sales of",
        rows: "(SELECT * FROM {schema}.sales WHERE quantity <> 0 OR revenue_minor <> 0)",
        key: "partition, day, sku, currency",
        row_name: "format('%s/%s/%s/%s', partition, day, currency, sku)",
        part: Part::Sums,
    },
];

impl Table {
    /// The rows of a generation with their digests.
    fn of(&self, generation: i32) -> String {
        let schema = schema(generation);
        let rows = if self.rows.contains("{schema}") {
            self.rows.replace("{schema}", &schema)
        } else {
            format!("{schema}.{}", self.rows)
        };
        format!(
            "(SELECT {}, hash_record_extended(r, 0) AS digest FROM {rows} AS r)",
            self.key
        )
    }

    /// The names of rows that differ, with both digests; $1: only these, where it is not null.
    fn differing(&self, old: i32, new: i32) -> String {
        format!(
            "SELECT {row_name}, o.digest, n.digest FROM {} AS o FULL JOIN {} AS n USING ({}) \
             WHERE o.digest IS DISTINCT FROM n.digest AND ($1::text[] IS NULL OR {row_name} = ANY($1))",
            self.of(old),
            self.of(new),
            self.key,
            row_name = self.row_name,
        )
    }
}

/// Which generations, and what of them.
#[derive(Clone, Copy)]
pub(super) struct Compared {
    pub(super) old: i32,
    pub(super) new: i32,
    pub(super) part: Part,
}

/// Compares a part of them.
pub(super) async fn generations(
    database_url: &str,
    compared: Compared,
    ready: impl Future<Output = ()> + Send,
) -> Result<Comparison, StoreError> {
    let look = |names| async move {
        let options = options(database_url, "tailwater-rebuild")?.options([("work_mem", "128MB")]);
        let (mut one, mut other) = tokio::try_join!(
            PgConnection::connect_with(&options),
            PgConnection::connect_with(&options)
        )?;
        let look = look(&mut one, &mut other, compared, names).await?;
        one.close().await?;
        other.close().await?;
        Ok(look)
    };
    compare(look, ready).await
}

/// All in one snapshot, by two connections at the same time.
async fn look(
    one: &mut PgConnection,
    other: &mut PgConnection,
    compared: Compared,
    names: Option<Vec<String>>,
) -> Result<Look, StoreError> {
    const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    let (mut one, mut other) = (one.begin_with(BEGIN).await?, other.begin_with(BEGIN).await?);
    let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
        .fetch_one(&mut *one)
        .await?;
    other
        .execute(AssertSqlSafe(format!("SET TRANSACTION SNAPSHOT '{snapshot}'")))
        .await?;
    let (in_old, in_new) = (
        positions(&mut one, compared.old).await?,
        positions(&mut one, compared.new).await?,
    );
    let (before, after) = bounds(&in_old, &in_new);
    let is_level = |partition: i32| {
        let topic = Topic::Orders;
        let at = TopicPartition { topic, partition };
        in_old.get(at) == in_new.get(at)
    };
    let mut look = Look {
        before,
        after,
        ..Look::default()
    };
    let mut of_events = Look::default();
    tokio::try_join!(
        views(&mut one, compared, names.as_deref(), &is_level, &mut look),
        events(&mut other, compared, names.as_deref(), &mut of_events)
    )?;
    look.compared += of_events.compared;
    look.differing.append(&mut of_events.differing);
    one.rollback().await?;
    other.rollback().await?;
    Ok(look)
}

async fn views(
    connection: &mut PgConnection,
    compared: Compared,
    names: Option<&[String]>,
    is_level: &(dyn Fn(i32) -> bool + Sync),
    look: &mut Look,
) -> Result<(), StoreError> {
    let Compared { old, new, part } = compared;
    for table in TABLES.iter().filter(|table| table.part == part) {
        let of_table = |name: &String| {
            name.strip_prefix(table.name)?
                .strip_prefix(' ')
                .map(str::to_owned)
        };
        let only: Option<Vec<String>> = names.map(|names| names.iter().filter_map(of_table).collect());
        if only.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        let rows: Vec<(String, Option<i64>, Option<i64>)> =
            sqlx::query_as(AssertSqlSafe(table.differing(old, new)))
                .bind(only)
                .fetch_all(&mut *connection)
                .await?;
        for (name, in_old, in_new) in rows {
            let partition = name.split_once('/').and_then(|(number, _)| number.parse().ok());
            let kind = match partition.filter(|_| part == Part::Sums) {
                Some(partition) => Kind::Sum {
                    level: is_level(partition),
                },
                None => Kind::Versioned,
            };
            let name = format!("{} {name}", table.name);
            look.differing.insert(name, ((in_old, in_new), kind));
        }
        if names.is_none() {
            let statement = format!("SELECT count(*) FROM {} AS counted", table.of(new));
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(statement))
                .fetch_one(&mut *connection)
                .await?;
            look.compared += count.unsigned_abs();
        }
    }
    Ok(())
}

async fn positions(connection: &mut PgConnection, generation: i32) -> Result<Positions, StoreError> {
    let statement = format!(
        "SELECT topic, partition, next_offset, last_offset, link FROM {}.checkpoints",
        schema(generation)
    );
    let rows: Vec<CheckpointRow> = sqlx::query_as(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let at = |row| checkpoint(row).map(|(partition, checkpoint)| (partition, checkpoint.next_offset));
    rows.into_iter().map(at).collect()
}

/// What both have examined never changes: so whole partitions are compared by one digest, and events only where that differs.
async fn events(
    connection: &mut PgConnection,
    compared: Compared,
    names: Option<&[String]>,
    look: &mut Look,
) -> Result<(), StoreError> {
    const NAME: &str = "event";
    type Digests = BTreeMap<i32, (i64, Option<i64>)>;
    let is_asked = names.is_none_or(|names| names.iter().any(|name| name.starts_with(NAME)));
    if compared.part != Part::Rows || !is_asked {
        return Ok(());
    }
    let (ours, theirs) = (schema(compared.old), schema(compared.new));
    let upto = format!(
        "(SELECT partition, least(o.next_offset, n.next_offset) AS upto \
          FROM {ours}.checkpoints AS o JOIN {theirs}.checkpoints AS n USING (topic, partition) WHERE topic = {})",
        index(Topic::Orders)
    );
    let mut digests: Vec<Digests> = Vec::new();
    for schema in [&ours, &theirs] {
        let statement = format!(
            "SELECT partition, count(*), bit_xor(hash_record_extended(e, 0)) FROM {schema}.order_events AS e \
             LEFT JOIN {upto} AS c USING (partition) WHERE upto IS NULL OR \"offset\" < upto GROUP BY partition"
        );
        let rows: Vec<(i32, i64, Option<i64>)> = sqlx::query_as(AssertSqlSafe(statement))
            .fetch_all(&mut *connection)
            .await?;
        let by_partition = |(partition, count, digest)| (partition, (count, digest));
        digests.push(rows.into_iter().map(by_partition).collect());
    }
    if names.is_none() {
        let counts = digests
            .last()
            .map(|all| all.values().map(|(count, _)| count).sum::<i64>());
        look.compared += counts.unwrap_or_default().unsigned_abs();
    }
    if digests.first() == digests.last() {
        return Ok(());
    }
    let statement = format!(
        "SELECT partition, \"offset\", hash_record_extended(o, 0), hash_record_extended(n, 0) \
         FROM {ours}.order_events AS o FULL JOIN {theirs}.order_events AS n USING (partition, \"offset\") \
         LEFT JOIN {upto} AS c USING (partition) \
         WHERE (upto IS NULL OR \"offset\" < upto) \
           AND hash_record_extended(o, 0) IS DISTINCT FROM hash_record_extended(n, 0)"
    );
    let rows: Vec<(i32, i64, Option<i64>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    for (partition, offset, in_old, in_new) in rows {
        let name = format!("{NAME} of partition {partition}, offset {offset}");
        look.differing.insert(name, ((in_old, in_new), Kind::Versioned));
    }
    Ok(())
}
