//! Answers pings: one thread that accepts, one for each connection. There are as many as there are other instances.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{ANSWER, FRAME_BYTES, Frame, PING};
use crate::cluster::member::MemberId;

/// Connections that are served at once: the port takes them from anybody.
const CONNECTIONS_MAX: usize = 128;

/// A connection without a ping for that long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// How often a thread that waits looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

const STACK_BYTES: usize = 128 * 1024;

const ANSWERING: u8 = 0;
const ENDED: u8 = 1;
#[cfg(test)]
const SILENT: u8 = 2;

struct Shared {
    id: MemberId,
    mode: AtomicU8,
    connections: AtomicUsize,
}

/// Answers pings until it is dropped.
pub(in crate::cluster) struct Responder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Responder {
    /// Listens, and answers from now on.
    pub fn start(listen: SocketAddr, id: MemberId) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            id,
            mode: AtomicU8::new(ANSWERING),
            connections: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("ping-accept".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends as a process does that is killed: connections are closed, and nobody listens any more.
    pub fn stop(&self) {
        if self.shared.mode.swap(ENDED, Ordering::AcqRel) != ENDED {
            // The thread waits for a connection: this is one.
            let _ = TcpStream::connect_timeout(&self.address, LOOK);
        }
    }

    /// Says nothing for a while, like a process that is stopped: connections stay.
    #[cfg(test)]
    pub fn set_silent(&self, silent: bool) {
        let mode = if silent { SILENT } else { ANSWERING };
        self.shared.mode.store(mode, Ordering::Release);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.mode.load(Ordering::Acquire) == ENDED {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: there is nothing to do but to let others give some back.
                tracing::warn!(%error, "cluster.ping.accept");
                std::thread::sleep(LOOK);
                continue;
            }
        };
        if shared.connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let answering = Arc::clone(shared);
        let spawned = std::thread::Builder::new()
            .name("ping-answer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                if let Err(error) = answer(stream, &answering) {
                    tracing::debug!(%error, "cluster.ping.connection");
                }
                answering.connections.fetch_sub(1, Ordering::AcqRel);
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cluster.ping.thread");
            shared.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(IDLE))?;
    let (mut frame, mut filled) = ([0; FRAME_BYTES], 0);
    let mut last = Instant::now();
    loop {
        match stream.read(&mut frame[filled..]) {
            Ok(0) => return Ok(()),
            Ok(read) => filled += read,
            Err(error) if waits(&error) && last.elapsed() < IDLE => {}
            Err(error) => return Err(error),
        }
        #[cfg(test)]
        while shared.mode.load(Ordering::Acquire) == SILENT {
            std::thread::sleep(Duration::from_millis(5));
        }
        if shared.mode.load(Ordering::Acquire) == ENDED {
            return Ok(());
        }
        if filled < FRAME_BYTES {
            continue;
        }
        filled = 0;
        last = Instant::now();
        let Some(ping) = Frame::decode(&frame, PING) else {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a ping"));
        };
        // Whoever wanted another process finds out by the id.
        let own = Frame {
            id: shared.id,
            ..ping
        };
        stream.write_all(&own.encode(ANSWER))?;
    }
}

/// Whether nothing came in time, and nothing is wrong.
pub(super) fn waits(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
