//! A start from another instance's checkpoints: where a partition has none here, those of whoever holds it are carried over
//! before the writers begin. The tail of the log comes after that, as it does behind a checkpoint of one's own.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventlog::LogId;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::cluster::{Cluster, Peer, StateChunks};
use crate::engine::slots::{partition_at, slot_count};
use crate::engine::{NotAnswered, SharedStore};
use crate::shop::Shop;
use crate::store::{Identity, transfer};

/// Partitions that are carried over at once.
const AT_ONCE: usize = 4;

/// Chunks of a partition that may be under way.
const CHUNKS: usize = 8;

/// How long a peer may take for the next chunk; then the log is folded instead.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(3);

/// Carries over what is missing below the data directory from whoever has it. What cannot be had is folded from the log.
pub(crate) async fn seed(cluster: &Cluster, data_dir: &Path, log_id: LogId, partitions: i32) {
    let peers = cluster.peers();
    let missing: Vec<(usize, Identity)> = (0..slot_count(partitions))
        .map(|slot| {
            let partition = partition_at(slot, partitions);
            (slot, Identity { log_id, partition })
        })
        .filter(|(_, identity)| !identity.path(data_dir).exists())
        .collect();
    if peers.is_empty() || missing.is_empty() {
        return;
    }
    let began = Instant::now();
    let wanted = missing.len();
    let carried = futures::stream::iter(missing)
        .map(|(slot, identity)| carry(&peers, slot, identity, data_dir))
        .buffer_unordered(AT_ONCE)
        .fold(0_u64, async |sum, bytes| sum + bytes)
        .await;
    tracing::info!(
        wanted,
        bytes = carried,
        took_ms = began.elapsed().as_millis(),
        "writer.checkpoint.seeded: from other instances"
    );
}

/// Carries one partition over from the first peer that has it; its size in bytes, 0 where none has.
async fn carry(peers: &[Peer], slot: usize, identity: Identity, data_dir: &Path) -> u64 {
    for peer in peers {
        match carry_from(peer, slot, identity, data_dir).await {
            Ok(bytes) => return bytes,
            Err(reason) => {
                tracing::debug!(peer = peer.name(), partition = ?identity.partition, reason, "writer.checkpoint.seed");
            }
        }
    }
    0
}

async fn carry_from(peer: &Peer, slot: usize, identity: Identity, data_dir: &Path) -> Result<u64, String> {
    let mut stream = peer
        .state(slot, CHUNK_TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    let (chunks, received) = mpsc::channel(CHUNKS);
    let path = identity.path(data_dir);
    let import = tokio::task::spawn_blocking(move || {
        let mut received = Received {
            chunks: received,
            rest: Bytes::new(),
        };
        transfer::import::<Shop>(&path, identity, &mut received).map_err(|error| error.to_string())
    });
    loop {
        let chunk = match stream.next().await {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) => break,
            Err(error) => Err(error.to_string()),
        };
        let is_over = chunk.is_err();
        // A closed channel means that the import failed; it says why.
        if chunks.send(chunk).await.is_err() || is_over {
            break;
        }
    }
    drop(chunks);
    let carried = import.await.map_err(|error| error.to_string())??;
    Ok(carried.bytes)
}

/// What a peer sends, for whoever reads and waits.
struct Received {
    chunks: mpsc::Receiver<Result<Bytes, String>>,
    rest: Bytes,
}

impl Read for Received {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.rest = chunk.map_err(io::Error::other)?,
            }
        }
        let length = into.len().min(self.rest.len());
        into[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

/// A partition's checkpoint, for a peer.
pub(crate) fn export(store: SharedStore) -> StateChunks {
    let (chunks, state) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut sent = Sent(chunks);
        let outcome = store.export(&mut sent);
        if !matches!(outcome, Ok(Some(_))) {
            // Without a checkpoint there is nothing to send; a peer takes a stream without an end for none.
            let _ = sent.0.blocking_send(Err(NotAnswered::Unavailable));
        }
    });
    state
}

/// Sends what is written.
struct Sent(mpsc::Sender<Result<Bytes, NotAnswered>>);

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
