//! Two generations in one Redis, document by document. Both documents are compared there by one script, and so as of one moment;
//! what leaves Redis is what differs.

use std::hash::{DefaultHasher, Hash, Hasher};

use ::redis::aio::ConnectionManager;
use ::redis::{AsyncCommands, Script};
use eventlog::Positions;

use super::{Keys, RedisGenerations};
use crate::compare::{Comparison, Differing, Kind, Look, bounds, compare};
use crate::store::StoreError;

/// How many keys one command looks at: Redis serves nobody else meanwhile.
const CHUNK: usize = 500;

/// Which keys differ from the one behind them, every other one from the first on: their numbers in Lua's way, from 1.
const DIFFERING: &str = "\
local found = {} \
for i = 1, #KEYS, 2 do \
  if redis.call('GET', KEYS[i]) ~= redis.call('GET', KEYS[i + 1]) then found[#found + 1] = i end \
end \
return found";

impl RedisGenerations {
    /// Compares them. A document is named by its key without the generation.
    pub(super) async fn compared(
        &self,
        old: i32,
        new: i32,
        ready: impl Future<Output = ()> + Send,
    ) -> Result<Comparison, StoreError> {
        compare(|names| self.look(old, new, names), ready).await
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
        let (mut cursor, mut names) = (0_u64, Vec::new());
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
                    names.push(name);
                }
            }
            if next == 0 {
                // The same in both, and what a scan showed twice.
                names.sort_unstable();
                names.dedup();
                return Ok(names);
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
        let (mut connection, script) = (self.connection.clone(), Script::new(DIFFERING));
        let keys = |name: &String| [Keys::together(old, name), Keys::together(new, name)];
        for chunk in names.chunks(CHUNK) {
            let mut call = script.prepare_invoke();
            for key in chunk.iter().flat_map(keys) {
                call.key(key);
            }
            let numbers: Vec<usize> = call.invoke_async(&mut connection).await?;
            let found: Vec<&String> = numbers
                .iter()
                .filter_map(|number| chunk.get(number / 2))
                .collect();
            if found.is_empty() {
                continue;
            }
            // They may have changed since: what is told is what is there now.
            let both: Vec<String> = found.iter().copied().flat_map(keys).collect();
            let values: Vec<Option<String>> = connection.mget(both).await?;
            for (name, pair) in found.into_iter().zip(values.chunks(2)) {
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
