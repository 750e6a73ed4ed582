//! A snapshot as a stream of bytes, for a peer that starts from it and the log's tail.
//!
//! ```text
//! "TWSNAP01"  frame*  end
//! frame = kind (1 byte)  key length (4, big-endian)  value length (4)  key  value
//! end   = a frame of kind 255 without a key; its value is the SHA-256 of every byte before it
//! ```
//!
//! The first frame says what it is a snapshot of. Keys and values are as they lie in the database, checksums included; within
//! a kind they come in the order of their keys. Nothing of a stream is used before its last byte was verified, and nothing
//! of it vouches for the checkpoint: its record is looked up in the log as that of a local one is.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use eventlog::Checkpoint;
use redb::{ReadableTable, WriteTransaction};
use sha2::{Digest, Sha256};

use super::database::{Store, open_database};
use super::format::{META, Meta, OPEN, STATES, unseal};
use super::runs::BLOCKS;
use super::{Identity, StoreError, Stored};

const MAGIC: &[u8; 8] = b"TWSNAP01";

/// A longer key is none of ours, in bytes.
const KEY_BYTES_MAX: u64 = 1 << 16;

/// A longer value is none of ours, in bytes: a SKU with ten million open reservations.
const VALUE_BYTES_MAX: u64 = 1 << 28;

/// What an import may keep of the file in memory, in bytes.
const IMPORT_CACHE_BYTES: usize = 64 << 20;

const META_FRAME: u8 = 0;
const STATE_FRAME: u8 = 1;
const OPEN_FRAME: u8 = 2;
const BLOCK_FRAME: u8 = 3;
const END_FRAME: u8 = 255;

struct Out<W: Write> {
    to: BufWriter<W>,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn frame(&mut self, kind: u8, key: &[u8], value: &[u8]) -> io::Result<()> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let mut head = [kind; 9];
        head[1..5].copy_from_slice(&size(key)?.to_be_bytes());
        head[5..].copy_from_slice(&size(value)?.to_be_bytes());
        self.put(&head)?;
        self.put(key)?;
        self.put(value)
    }
}

/// What was carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Where the snapshot was taken.
    pub checkpoint: Checkpoint,
    /// Size of the stream, in bytes.
    pub bytes: u64,
}

impl<D: Stored> Store<D> {
    /// Writes the last snapshot, while newer ones may be made. None where there is no snapshot yet.
    pub fn export(&self, to: &mut dyn Write) -> Result<Option<Carried>, StoreError> {
        let read = self.read()?;
        let mut out = Out {
            to: BufWriter::with_capacity(1 << 16, to),
            hash: Sha256::new(),
            bytes: 0,
        };
        let meta = match read.open_table(META) {
            Ok(table) => table.get_owned([].as_slice()).map_err(StoreError::database)?,
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(StoreError::database(error)),
        };
        let Some(meta) = meta else { return Ok(None) };
        let checkpoint = checked_meta::<D>(meta.value(), self.identity())?.checkpoint();
        out.put(MAGIC)?;
        out.frame(META_FRAME, &[], meta.value())?;
        let states = read.open_table(STATES).map_err(StoreError::database)?;
        for entry in states.iter().map_err(StoreError::database)? {
            let (key, value) = entry.map_err(StoreError::database)?;
            out.frame(STATE_FRAME, key.value(), value.value())?;
        }
        let open = read.open_table(OPEN).map_err(StoreError::database)?;
        for entry in open.iter().map_err(StoreError::database)? {
            let (key, work) = entry.map_err(StoreError::database)?;
            out.frame(OPEN_FRAME, key.value(), work.value())?;
        }
        let blocks = read.open_table(BLOCKS).map_err(StoreError::database)?;
        for entry in blocks.iter().map_err(StoreError::database)? {
            let (place, block) = entry.map_err(StoreError::database)?;
            let (run, first) = place.value();
            let mut key = [0; 20];
            key[..4].copy_from_slice(&run.to_be_bytes());
            key[4..].copy_from_slice(&first.to_be_bytes());
            out.frame(BLOCK_FRAME, &key, block.value())?;
        }
        let digest = out.hash.clone().finalize();
        out.frame(END_FRAME, &[], &digest)?;
        out.to.flush()?;
        Ok(Some(Carried {
            checkpoint,
            bytes: out.bytes,
        }))
    }
}

fn checked_meta<D: Stored>(sealed: &[u8], identity: Identity) -> Result<Meta, StoreError> {
    let meta: Meta = unseal(&[], sealed).map_err(|error| StoreError::Unusable(error.to_string()))?;
    match meta.unusable::<D>(identity) {
        Some(why) => Err(StoreError::Unusable(why)),
        None => Ok(meta),
    }
}

struct In<R: Read> {
    from: BufReader<R>,
    hash: Sha256,
    bytes: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<R: Read> In<R> {
    fn take(&mut self, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.from.read_exact(buffer).map_err(cut_short)?;
        self.hash.update(&*buffer);
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    fn take_vec(&mut self, mut buffer: Vec<u8>, size: u64) -> Result<Vec<u8>, StoreError> {
        buffer.clear();
        // Grows with what is there, whatever size is claimed.
        (&mut self.from).take(size).read_to_end(&mut buffer)?;
        if buffer.len() as u64 != size {
            return Err(cut_short(io::ErrorKind::UnexpectedEof.into()));
        }
        self.hash.update(&buffer);
        self.bytes += size;
        Ok(buffer)
    }

    /// The next frame's kind; its key and value are in the buffers. The end's value is verified.
    fn frame(&mut self) -> Result<u8, StoreError> {
        let before = self.hash.clone();
        let mut head = [0; 9];
        self.take(&mut head)?;
        let [kind, k0, k1, k2, k3, v0, v1, v2, v3] = head;
        let key_size = u64::from(u32::from_be_bytes([k0, k1, k2, k3]));
        let value_size = u64::from(u32::from_be_bytes([v0, v1, v2, v3]));
        if key_size > KEY_BYTES_MAX || value_size > VALUE_BYTES_MAX {
            return Err(StoreError::Unusable("a frame is too large".to_owned()));
        }
        let key = std::mem::take(&mut self.key);
        self.key = self.take_vec(key, key_size)?;
        let value = std::mem::take(&mut self.value);
        self.value = self.take_vec(value, value_size)?;
        if kind == END_FRAME && self.value != before.finalize().as_slice() {
            return Err(StoreError::Unusable(
                "the stream's checksum does not match".to_owned(),
            ));
        }
        Ok(kind)
    }
}

fn cut_short(error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        StoreError::Unusable("the stream is cut short".to_owned())
    } else {
        error.into()
    }
}

/// Makes a snapshot's file of a peer's stream, in place of whatever is there. The file must not be open. Until the whole
/// stream is verified, `path` is untouched.
pub fn import<D: Stored>(
    path: &Path,
    identity: Identity,
    from: &mut dyn Read,
) -> Result<Carried, StoreError> {
    let part = path.with_extension("part");
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let carried = import_into::<D>(&part, identity, from);
    match &carried {
        Ok(_) => std::fs::rename(&part, path)?,
        // It tells nothing that the error does not.
        Err(_) => drop(std::fs::remove_file(&part)),
    }
    carried
}

fn import_into<D: Stored>(
    part: &Path,
    identity: Identity,
    from: &mut dyn Read,
) -> Result<Carried, StoreError> {
    let mut stream = In {
        from: BufReader::with_capacity(1 << 16, from),
        hash: Sha256::new(),
        bytes: 0,
        key: Vec::new(),
        value: Vec::new(),
    };
    let mut magic = [0; 8];
    stream.take(&mut magic)?;
    if magic != *MAGIC || stream.frame()? != META_FRAME {
        return Err(StoreError::Unusable("not a snapshot's stream".to_owned()));
    }
    let checkpoint = checked_meta::<D>(&stream.value, identity)?.checkpoint();
    let database = open_database(part, IMPORT_CACHE_BYTES)?;
    let write = database.begin_write().map_err(StoreError::database)?;
    write
        .open_table(META)
        .map_err(StoreError::database)?
        .insert([].as_slice(), stream.value.as_slice())
        .map_err(StoreError::database)?;
    take_frames(&write, &mut stream)?;
    write.commit().map_err(StoreError::database)?;
    Ok(Carried {
        checkpoint,
        bytes: stream.bytes,
    })
}

fn take_frames<R: Read>(write: &WriteTransaction, stream: &mut In<R>) -> Result<(), StoreError> {
    let mut states = write.open_table(STATES).map_err(StoreError::database)?;
    let mut open = write.open_table(OPEN).map_err(StoreError::database)?;
    let mut blocks = write.open_table(BLOCKS).map_err(StoreError::database)?;
    loop {
        let kind = stream.frame()?;
        let (key, value) = (stream.key.as_slice(), stream.value.as_slice());
        match kind {
            STATE_FRAME => drop(states.insert(key, value).map_err(StoreError::database)?),
            OPEN_FRAME => drop(open.insert(key, value).map_err(StoreError::database)?),
            BLOCK_FRAME => {
                let key: [u8; 20] = sized(key)?;
                let (run, first) = key.split_at(4);
                let place = (
                    u32::from_be_bytes(sized(run)?),
                    u128::from_be_bytes(sized(first)?),
                );
                drop(blocks.insert(place, value).map_err(StoreError::database)?);
            }
            END_FRAME => return Ok(()),
            _ => return Err(StoreError::Unusable(format!("no frame has the kind {kind}"))),
        }
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Unusable("a key of another size".to_owned()))
}
