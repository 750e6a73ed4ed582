//! Two generations in one Redis, document by document. Both documents come from one `MGET`, and so from one moment.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use ::redis::AsyncCommands;
use ::redis::aio::ConnectionManager;
use eventlog::Positions;

use super::{Keys, RedisGenerations};
use crate::compare::{Comparison, Differing, Kind, Look, bounds, compare};
use crate::store::StoreError;

/// How many keys one command looks at: Redis serves nobody else meanwhile.
const CHUNK: usize = 500;

impl RedisGenerations {
    /// Compares them. A document is named by its key without the generation.
    pub(super) async fn compared(&self, old: i32, new: i32) -> Result<Comparison, StoreError> {
        compare(|names| self.look(old, new, names)).await
    }

    async fn look(&self, old: i32, new: i32, names: Option<Vec<String>>) -> Result<Look, StoreError> {
        let (before, _) = self.bounds(old, new).await?;
        let names = match names {
            Some(names) => names,
            None => self.names(old, new).await?,
        };
        let mut look = Look {
            before,
            compared: names.len() as u64,
            ..Look::default()
        };
        self.differing(old, new, &names, &mut look.differing).await?;
        (_, look.after) = self.bounds(old, new).await?;
        Ok(look)
    }

    async fn bounds(&self, old: i32, new: i32) -> Result<(Positions, Positions), StoreError> {
        let (ours, theirs) = (
            self.place(&self.keys, old).await?,
            self.place(&self.keys, new).await?,
        );
        Ok(bounds(&ours, &theirs))
    }

    /// What either has.
    async fn names(&self, old: i32, new: i32) -> Result<Vec<String>, StoreError> {
        let mut connection: ConnectionManager = self.connection.clone();
        let (mut cursor, mut names) = (0_u64, BTreeSet::new());
        loop {
            let (next, found): (u64, Vec<String>) = ::redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(self.keys.all())
                .arg("COUNT")
                .arg(CHUNK * 2)
                .query_async(&mut connection)
                .await?;
            for key in found {
                if let Some((generation, name)) = Keys::apart(&key)
                    && (generation == old || generation == new)
                    && !name.ends_with("}:wm")
                {
                    names.insert(name);
                }
            }
            if next == 0 {
                return Ok(names.into_iter().collect());
            }
            cursor = next;
        }
    }

    async fn differing(
        &self,
        old: i32,
        new: i32,
        names: &[String],
        differing: &mut Differing,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection.clone();
        for chunk in names.chunks(CHUNK) {
            let keys: Vec<String> = chunk
                .iter()
                .flat_map(|name| [Keys::together(old, name), Keys::together(new, name)])
                .collect();
            let values: Vec<Option<String>> = connection.mget(keys).await?;
            for (name, pair) in chunk.iter().zip(values.chunks(2)) {
                if let [ours, theirs] = pair
                    && ours != theirs
                {
                    let pair = (digest(ours.as_ref()), digest(theirs.as_ref()));
                    differing.insert(name.clone(), (pair, Kind::Versioned));
                }
            }
        }
        Ok(())
    }
}

fn digest(text: Option<&String>) -> Option<i64> {
    text.map(|text| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish().cast_signed()
    })
}
