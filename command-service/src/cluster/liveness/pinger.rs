//! Pings one member: one thread, one connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::responder::waits;
use super::{ANSWER, FRAME_BYTES, Frame, PING};
use crate::cluster::member::MemberId;

/// How often a member is pinged, and how long its answer may take.
const EVERY: Duration = Duration::from_millis(50);

/// Pings without an answer, one after the other, that make a member gone.
const MISSED_MAX: u32 = 3;

/// So many without an answer make it gone even if we were too slow ourselves to know.
const UNANSWERED_MAX: u32 = 20;

/// Enough for what is done about a finding: working out the view, and telling the listeners.
const STACK_BYTES: usize = 1024 * 1024;

/// What pings found out. Told again and again, not only when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Finding {
    /// It is there. How long its answer took, where that is known.
    Answers(Option<Duration>),
    /// The connection was refused or reset, or three pings in a row had no answer.
    Gone,
}

/// What the pinger's owner may tell its thread.
#[derive(Default)]
struct Told {
    ended: AtomicBool,
    /// Only an answer to a ping that is sent from now on proves that it is there.
    suspected: AtomicBool,
}

/// Pings a member until it is dropped.
pub(in crate::cluster) struct Pinger {
    told: Arc<Told>,
}

impl Pinger {
    /// Pings the member at `address` (`host:port`) from now on, and tells what it finds to `tell`, on its own thread.
    pub fn start(
        member: MemberId,
        address: String,
        tell: impl Fn(Finding) + Send + 'static,
    ) -> io::Result<Self> {
        let told = Arc::new(Told::default());
        let pinging = Pinging {
            member,
            address,
            tell,
            told: Arc::clone(&told),
            connection: None,
            number: 0,
            answered: 0,
            missed: 0,
            unanswered: 0,
            proven_from: 0,
        };
        std::thread::Builder::new()
            .name("pinger".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || pinging.run())?;
        Ok(Self { told })
    }

    /// Somebody met a connection that was refused or reset: the next ping tells.
    pub fn suspect(&self) {
        self.told.suspected.store(true, Ordering::Release);
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.told.ended.store(true, Ordering::Release);
    }
}

/// A connection, and what came of a frame.
struct Connection {
    stream: TcpStream,
    frame: [u8; FRAME_BYTES],
    filled: usize,
}

struct Pinging<T> {
    member: MemberId,
    address: String,
    tell: T,
    told: Arc<Told>,
    connection: Option<Connection>,
    /// Of the last ping.
    number: u64,
    /// The latest one that was answered.
    answered: u64,
    /// In a row, where we were there when the answer was due.
    missed: u32,
    /// In a row, wherever we were.
    unanswered: u32,
    /// Answers to earlier pings prove nothing.
    proven_from: u64,
}

impl<T: Fn(Finding)> Pinging<T> {
    fn run(mut self) {
        while !self.told.ended.load(Ordering::Acquire) {
            let begun = Instant::now();
            let due = begun + EVERY;
            match self.round(begun, due) {
                Ok(()) => self.count(due),
                Err(error) => {
                    tracing::trace!(member = %self.member, %error, "cluster.ping.failed");
                    self.connection = None;
                    self.missed = MISSED_MAX;
                    self.told_gone();
                }
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn told_gone(&self) {
        if !self.told.ended.load(Ordering::Acquire) {
            (self.tell)(Finding::Gone);
        }
    }

    /// The time for an answer is over.
    fn count(&mut self, due: Instant) {
        if self.answered == self.number {
            return;
        }
        // Where this thread was not run, or the whole process was stopped, that is not the other one's fault.
        let on_time = due.elapsed() < EVERY;
        self.missed += u32::from(on_time);
        self.unanswered += 1;
        if self.missed >= MISSED_MAX || self.unanswered >= UNANSWERED_MAX {
            self.told_gone();
        }
    }

    /// One ping, and answers until the next one is due. An error is a connection that was refused, reset, or of somebody else.
    fn round(&mut self, begun: Instant, due: Instant) -> io::Result<()> {
        self.number += 1;
        if self.told.suspected.swap(false, Ordering::AcqRel) {
            self.proven_from = self.number;
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match connect(&self.address) {
                Ok(connection) => connection,
                // No answer at all: counted as a ping without one.
                Err(error) if waits(&error) => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        let ping = Frame {
            id: self.member,
            number: self.number,
        };
        match connection.stream.write_all(&ping.encode(PING)) {
            Ok(()) => {}
            // It has not read for hours: some of the ping may be on its way, so this connection is of no use.
            Err(error) if waits(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        // Until the next one is due, though the answer be there: so a connection that breaks is seen at once.
        while let Some(left) = due
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            if let Some(answer) = connection.read(left)? {
                self.take(answer, begun)?;
            }
            if self.told.ended.load(Ordering::Acquire) {
                return Ok(());
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn take(&mut self, answer: Frame, begun: Instant) -> io::Result<()> {
        if answer.id != self.member {
            return Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                "another process has its port",
            ));
        }
        if answer.number < self.proven_from || answer.number > self.number {
            return Ok(());
        }
        self.answered = self.answered.max(answer.number);
        self.missed = 0;
        self.unanswered = 0;
        let took = (answer.number == self.number).then(|| begun.elapsed());
        (self.tell)(Finding::Answers(took));
        Ok(())
    }
}

fn connect(address: &str) -> io::Result<Connection> {
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such host"))?;
    let stream = TcpStream::connect_timeout(&resolved, EVERY)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(EVERY))?;
    Ok(Connection {
        stream,
        frame: [0; FRAME_BYTES],
        filled: 0,
    })
}

impl Connection {
    /// An answer, or none within the timeout.
    fn read(&mut self, timeout: Duration) -> io::Result<Option<Frame>> {
        self.stream
            .set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        match self.stream.read(&mut self.frame[self.filled..]) {
            Ok(0) => Err(ErrorKind::ConnectionReset.into()),
            Ok(read) => {
                self.filled += read;
                if self.filled < FRAME_BYTES {
                    return Ok(None);
                }
                self.filled = 0;
                Frame::decode(&self.frame, ANSWER)
                    .map(Some)
                    .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "not an answer"))
            }
            Err(error) if waits(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
