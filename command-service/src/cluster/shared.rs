//! What the threads and handles of a cluster share: the one place where what is heard, found and told becomes a view.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crossbeam_channel::Sender;
use tokio::sync::watch;

use super::heartbeat::Word;
use super::liveness::{Finding, Pinger};
use super::member::{Heartbeat, Held, MemberId, MemberState};
use super::membership::{Heard, Membership};
use super::peer::{Peer, PeerKey};
use super::view::{self, Standing};
use crate::engine::Role;
use crate::metrics;

/// Who is asked for a slot.
#[derive(Clone, Debug)]
pub enum Route {
    /// This instance decides.
    Here,
    /// Another one does.
    There(Peer),
    /// Nobody is left: this instance has left, and knows of no other.
    Nobody,
}

/// Who is alive and who does what, at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// Those who are alive, this instance (which is no peer of itself) included unless it has left.
    members: Vec<(MemberId, Option<Peer>)>,
    /// By slot: whom to ask, in order, as indices into `members`.
    candidates: Vec<Vec<usize>>,
    roles: Vec<Role>,
}

impl View {
    /// What this instance does, slot by slot.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The other instances that are alive.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.members.iter().filter_map(|(_, peer)| peer.as_ref())
    }

    /// Who is asked for a slot, those left out that have been tried.
    pub fn route_around(&self, slot: usize, tried: &[MemberId]) -> Route {
        let candidates = self.candidates.get(slot).map_or(&[][..], Vec::as_slice);
        candidates
            .iter()
            .map(|index| &self.members[*index])
            .find(|(id, _)| !tried.contains(id))
            .map_or(Route::Nobody, |(_, peer)| {
                peer.clone().map_or(Route::Here, Route::There)
            })
    }

    fn differs_from(&self, other: &Self) -> bool {
        let ids = |view: &Self| view.members.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        ids(self) != ids(other) || self.candidates != other.candidates || self.roles != other.roles
    }
}

/// What this instance tells about itself, and what never changes of it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub id: MemberId,
    pub name: String,
    pub peer: String,
    pub ping: String,
    pub http: String,
}

struct Link {
    peer: Peer,
    /// None once it has expired.
    pinger: Option<Pinger>,
}

/// Somebody to tell that the view has changed.
type Listener = Box<dyn Fn(&Arc<View>) + Send>;

struct State {
    membership: Membership,
    stage: MemberState,
    held: BTreeMap<usize, Held>,
    beat: u64,
    left: bool,
    links: HashMap<MemberId, Link>,
    listeners: Vec<Listener>,
}

impl State {
    /// A member does not answer; confirmed by pings, or only suspected. Whether that is news.
    fn lose(&mut self, id: MemberId, confirmed: bool) -> bool {
        let news = if confirmed {
            self.membership.gone(id)
        } else {
            self.membership.suspected(id)
        };
        if let Some(link) = self.links.get(&id) {
            link.peer.set_gone(true);
            if news {
                metrics::peer_gone();
                tracing::warn!(member = %id, name = link.peer.name(), "cluster.member.gone");
            }
        }
        news
    }
}

pub(super) struct Shared {
    identity: Identity,
    slots: usize,
    key: PeerKey,
    words: Sender<Word>,
    state: Mutex<State>,
    views: watch::Sender<Arc<View>>,
    settled: watch::Sender<bool>,
}

impl Shared {
    pub fn new(identity: Identity, slots: usize, key: PeerKey, words: Sender<Word>) -> Arc<Self> {
        let state = State {
            membership: Membership::new(identity.id),
            stage: MemberState::Joining,
            held: BTreeMap::new(),
            beat: 0,
            left: false,
            links: HashMap::new(),
            listeners: Vec::new(),
        };
        let shared = Arc::new(Self {
            identity,
            slots,
            key,
            words,
            state: Mutex::new(state),
            views: watch::Sender::new(Arc::default()),
            settled: watch::Sender::new(false),
        });
        // Alone until somebody is heard: everything is decided here.
        shared.publish(&mut shared.lock());
        shared
    }

    /// Whatever panicked with the lock left nothing half done that the next view does not make good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub const fn me(&self) -> MemberId {
        self.identity.id
    }

    pub const fn key(&self) -> &PeerKey {
        &self.key
    }

    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// Without so much as a reference count on the way: asked for every request.
    pub fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.views.borrow())
    }

    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    pub fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// Everything that stood in the topic has been heard.
    pub fn settle(&self) {
        self.settled.send_replace(true);
    }

    pub fn listen(&self, listener: Listener) {
        let mut state = self.lock();
        listener(&self.view());
        state.listeners.push(listener);
    }

    /// The next heartbeat; none once this instance has left.
    pub fn next_heartbeat(&self) -> Option<Heartbeat> {
        let mut state = self.lock();
        if state.left {
            return None;
        }
        state.beat += 1;
        Some(Heartbeat {
            id: self.identity.id,
            beat: state.beat,
            name: self.identity.name.clone(),
            peer: self.identity.peer.clone(),
            ping: self.identity.ping.clone(),
            http: self.identity.http.clone(),
            state: state.stage,
            held: state.held.clone(),
        })
    }

    pub fn set_held(&self, held: BTreeMap<usize, Held>) {
        let mut state = self.lock();
        let warm = |held: &BTreeMap<usize, Held>| {
            let warm = held.iter().filter(|(_, held)| held.warm);
            warm.map(|(slot, _)| *slot).collect::<Vec<_>>()
        };
        let steers = warm(&state.held) != warm(&held);
        state.held = held;
        if steers {
            self.publish(&mut state);
            self.beat_now();
        }
    }

    pub fn set_state(&self, member: MemberState) {
        let mut state = self.lock();
        if state.stage != member {
            state.stage = member;
            self.publish(&mut state);
            self.beat_now();
        }
    }

    /// Whether the others have heard by now that this instance is about to leave: its own words have come back.
    pub fn known_to_drain(&self) -> bool {
        let state = self.lock();
        let echo = state.membership.echo();
        echo.is_some_and(|echo| echo.state == MemberState::Draining)
    }

    pub fn leave(&self) {
        let mut state = self.lock();
        state.left = true;
        self.publish(&mut state);
        let _ = self.words.send(Word::Leave);
    }

    #[cfg(test)]
    pub fn end(&self) {
        let mut state = self.lock();
        state.left = true;
        state.links.clear();
        let _ = self.words.send(Word::End);
    }

    /// Whether this instance knows that many to be alive, itself included, and all of them to be warm for everything.
    #[cfg(test)]
    pub fn knows_warm(&self, members: usize) -> bool {
        let standings = self.standings(&self.lock());
        standings.len() == members
            && standings
                .iter()
                .all(|member| member.warm.iter().all(|warm| *warm))
    }

    fn beat_now(&self) {
        // Where the thread has ended, this instance has left.
        let _ = self.words.send(Word::Now);
    }

    /// The topic says this: a member's heartbeat, or that it has left.
    ///
    /// An entry without a value under a key that is no member's id is not for command services: projectors speak so to each
    /// other. It is passed over.
    pub fn hear(self: &Arc<Self>, key: &[u8], value: Option<&[u8]>, now: Instant) {
        let heartbeat = match value.map(serde_json::from_slice::<Heartbeat>).transpose() {
            Ok(heartbeat) => heartbeat,
            Err(error) => {
                tracing::warn!(%error, "cluster.heartbeat.malformed: ignored");
                return;
            }
        };
        let mut state = self.lock();
        let Some(heartbeat) = heartbeat else {
            let id = std::str::from_utf8(key).ok().and_then(|key| key.parse().ok());
            if let Some(id) = id
                && state.membership.left(id)
            {
                tracing::info!(member = %id, "cluster.member.left");
                state.links.remove(&id);
                self.publish(&mut state);
            }
            return;
        };
        let id = heartbeat.id;
        if id != self.me() && !state.links.contains_key(&id) {
            let peer = Peer::new(&heartbeat, &self.key);
            state.links.insert(id, Link { peer, pinger: None });
        }
        let ping = heartbeat.ping.clone();
        match state.membership.heard(heartbeat, now) {
            Heard::Appeared => self.ping(&mut state, id, ping),
            Heard::Steers => self.publish(&mut state),
            Heard::Nothing => {}
        }
    }

    fn ping(self: &Arc<Self>, state: &mut State, id: MemberId, address: String) {
        let shared: Weak<Self> = Arc::downgrade(self);
        let pinger = Pinger::start(id, address, move |finding| {
            if let Some(shared) = shared.upgrade() {
                shared.found(id, finding);
            }
        });
        match (pinger, state.links.get_mut(&id)) {
            (Ok(pinger), Some(link)) => link.pinger = Some(pinger),
            (Err(error), _) => tracing::error!(%error, "cluster.pinger.start: a member is not seen"),
            (Ok(_), None) => {}
        }
    }

    /// What a pinger found.
    pub fn found(&self, id: MemberId, finding: Finding) {
        let mut state = self.lock();
        let news = match finding {
            Finding::Answers(took) => {
                if let Some(took) = took {
                    metrics::ping(took);
                }
                let news = state.membership.answers(id);
                if news && let Some(link) = state.links.get(&id) {
                    link.peer.set_gone(false);
                    tracing::info!(member = %id, name = link.peer.name(), "cluster.member.alive");
                }
                news
            }
            Finding::Gone => state.lose(id, true),
        };
        if news {
            self.publish(&mut state);
        }
    }

    /// Somebody met a connection that was refused or reset: the member counts as gone until its next ping is answered.
    pub fn report_gone(&self, id: MemberId) {
        let mut state = self.lock();
        if state.lose(id, false) {
            self.publish(&mut state);
            if let Some(pinger) = state.links.get(&id).and_then(|link| link.pinger.as_ref()) {
                pinger.suspect();
            }
        }
    }

    /// Lets members expire. Returns those whose heartbeat is to be taken down.
    pub fn expire(&self, now: Instant) -> Vec<MemberId> {
        let mut state = self.lock();
        let expired = state.membership.expire(now);
        for id in expired.expired {
            tracing::debug!(member = %id, "cluster.member.expired");
            if let Some(link) = state.links.get_mut(&id) {
                link.pinger = None;
            }
        }
        for id in &expired.buried {
            state.links.remove(id);
        }
        expired.buried
    }

    /// Works out who does what, and tells those who want to know where it differs.
    fn publish(&self, state: &mut State) {
        let members = self.standings(state);
        let candidates: Vec<_> = (0..self.slots)
            .map(|slot| view::candidates(slot, &members))
            .collect();
        let roles = candidates
            .iter()
            .enumerate()
            .map(|(slot, candidates)| {
                let first = candidates.first().map(|index| members[*index].id);
                view::role(slot, self.me(), first, &members)
            })
            .collect();
        let view = Arc::new(View {
            members: members
                .iter()
                .map(|member| {
                    (
                        member.id,
                        state.links.get(&member.id).map(|link| link.peer.clone()),
                    )
                })
                .collect(),
            candidates,
            roles,
        });
        metrics::record_members(view.members.len());
        if !view.differs_from(&self.views.borrow()) {
            return;
        }
        self.views.send_replace(Arc::clone(&view));
        for listener in &state.listeners {
            listener(&view);
        }
    }

    /// Those who are alive, as far as it matters for who does what.
    fn standings(&self, state: &State) -> Vec<Standing> {
        let mut members: Vec<_> = state
            .membership
            .alive()
            .map(|heartbeat| Standing {
                id: heartbeat.id,
                draining: heartbeat.state == MemberState::Draining,
                warm: (0..self.slots).map(|slot| heartbeat.is_warm(slot)).collect(),
            })
            .collect();
        if state.left {
            return members;
        }
        let alone = members.is_empty();
        let echo = state.membership.echo();
        let warm = |slot| {
            // What the others have not heard yet they do not act upon: until then the owner of before decides, and not both.
            let heard = alone || echo.is_some_and(|echo| echo.is_warm(slot));
            heard && state.held.get(&slot).is_some_and(|held| held.warm)
        };
        members.push(Standing {
            id: self.me(),
            draining: state.stage == MemberState::Draining,
            warm: (0..self.slots).map(warm).collect(),
        });
        members
    }
}
