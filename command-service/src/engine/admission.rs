//! Says no before it slows down: what waits may be no more than what can be done within the target.
//!
//! By Little's law (J. D. C. Little, 1961), what waits divided by what is done in a second is how long it waits. So the bound
//! follows from the rate at which commands and steps are done while there is enough to do; steps of the process manager
//! count, as an order that was let in is carried through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often the rate is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// With less than that waiting, the rate tells how much was asked for, not how much can be done.
const BUSY: usize = 32;

/// So many are always let in: without any, nothing would tell that it is better again.
const WORK_MIN: usize = 64;

/// The rate that is taken for granted in the beginning, in pieces of work a second.
const RATE_AT_FIRST: usize = 4_000;

/// The share of the newest window in the rate, as one part in so many.
const SMOOTHING: usize = 4;

/// Bounds of what is let in.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// How long a command should wait at most, in milliseconds.
    pub target_ms: usize,
    /// Commands of clients that may wait at once, whatever the rate.
    pub clients_max: usize,
    /// Bytes of them, whatever the rate.
    pub bytes_max: usize,
}

pub(super) struct Admission {
    limits: AdmissionLimits,
    clients: AtomicUsize,
    bytes: AtomicUsize,
    steps: AtomicUsize,
    done: AtomicUsize,
    work_max: AtomicUsize,
}

/// A client's place, for as long as it lives.
pub(super) struct Seat {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.clients.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.admission.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            clients: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            steps: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            work_max: AtomicUsize::new(RATE_AT_FIRST * limits.target_ms / 1_000),
        }
    }

    /// A place for a command of about so many bytes; none where it would wait too long.
    pub fn enter(self: &Arc<Self>, bytes: usize) -> Option<Seat> {
        let clients = self.clients.fetch_add(1, Ordering::Relaxed);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_full = clients >= self.limits.clients_max
            || waiting.saturating_add(bytes) > self.limits.bytes_max
            || clients + self.steps.load(Ordering::Relaxed) >= self.work_max.load(Ordering::Relaxed);
        if is_full {
            self.clients.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Seat {
            admission: Arc::clone(self),
            bytes,
        })
    }

    /// Clients that wait.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// What is let in at once, at the rate of late.
    pub fn work_max(&self) -> usize {
        self.work_max.load(Ordering::Relaxed)
    }

    fn work(&self) -> usize {
        self.clients() + self.steps.load(Ordering::Relaxed)
    }
}

/// Looks at the rate; the writers' thread holds it.
pub(super) struct Gauge {
    admission: Arc<Admission>,
    since: Instant,
    rate: usize,
}

impl Gauge {
    pub fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            since: Instant::now(),
            rate: RATE_AT_FIRST,
        }
    }

    /// Steps of the process manager that are open now; those that ended since the last call are done.
    pub fn steps(&self, open: usize) {
        let before = self.admission.steps.swap(open, Ordering::Relaxed);
        self.admission
            .done
            .fetch_add(before.saturating_sub(open), Ordering::Relaxed);
    }

    /// Sets the bound anew now and then.
    pub fn tick(&mut self) {
        let elapsed = self.since.elapsed();
        if elapsed >= WINDOW {
            self.since += elapsed;
            self.look(elapsed);
        }
    }

    fn look(&mut self, elapsed: Duration) {
        let done = self.admission.done.swap(0, Ordering::Relaxed);
        let micros = usize::try_from(elapsed.as_micros()).unwrap_or(usize::MAX).max(1);
        let rate = done.saturating_mul(1_000_000) / micros;
        if self.admission.work() < BUSY && rate <= self.rate {
            return;
        }
        self.rate = (self.rate * (SMOOTHING - 1) + rate) / SMOOTHING;
        let work_max = (self.rate * self.admission.limits.target_ms / 1_000).max(WORK_MIN);
        self.admission.work_max.store(work_max, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        target_ms: 250,
        clients_max: 4_096,
        bytes_max: 64 * 1024 * 1024,
    };

    fn admission(limits: AdmissionLimits) -> (Arc<Admission>, Gauge) {
        let admission = Arc::new(Admission::new(limits));
        (Arc::clone(&admission), Gauge::new(admission))
    }

    #[test]
    fn what_is_let_in_can_be_done_within_the_target() {
        let (admission, mut gauge) = admission(LIMITS);
        let seats: Vec<_> = (0..2_000).map_while(|_| admission.enter(100)).collect();
        assert_eq!(seats.len(), 1_000, "4,000 a second for 250 ms");
        // Nothing is done any more: the bound falls to its least.
        drop(seats);
        let few: Vec<_> = (0..BUSY).filter_map(|_| admission.enter(100)).collect();
        admission.done.store(0, Ordering::Relaxed);
        for _ in 0..40 {
            gauge.look(WINDOW);
        }
        assert_eq!(admission.work_max(), WORK_MIN);
        // It is done fast again: the bound rises.
        for _ in 0..40 {
            admission.done.store(800, Ordering::Relaxed);
            gauge.look(WINDOW);
        }
        assert!((1_990..=2_000).contains(&admission.work_max()));
        drop(few);
    }

    #[test]
    fn a_service_without_work_does_not_take_itself_for_slow() {
        let (admission, mut gauge) = admission(LIMITS);
        for _ in 0..100 {
            gauge.look(WINDOW);
        }
        assert_eq!(admission.work_max(), 1_000);
    }

    #[test]
    fn open_steps_and_bytes_count() {
        let (admission, gauge) = admission(AdmissionLimits {
            bytes_max: 1_000,
            ..LIMITS
        });
        let seat = admission.enter(900);
        assert!(seat.is_some() && admission.enter(101).is_none() && admission.enter(100).is_some());
        drop(seat);
        gauge.steps(1_000);
        assert!(admission.enter(1).is_none());
        gauge.steps(10);
        assert!(admission.enter(1).is_some());
        assert_eq!(admission.done.load(Ordering::Relaxed), 1 + 1 + 990 + 1);
    }
}
