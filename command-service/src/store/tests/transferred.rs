//! Snapshots as streams.

use std::time::Duration;

use eventlog::Topic;
use fastrand::Rng;

use super::driven::{Commands, Driven};
use super::transfer::{Carried, import};
use super::*;

#[test]
fn a_peer_starts_from_what_was_carried_over() {
    let folder = Folder::new();
    let mut driven = Driven::new(Topic::Stock);
    let mut commands = Commands::new(Topic::Stock, 3, 40, 1_000);
    let store = open(&folder.file("it.redb"), Topic::Stock).store;
    assert_eq!(store.export(&mut Vec::new()).unwrap(), None);
    for _ in 0..400 {
        driven.ask(&commands.next());
    }
    let delta = driven.core.delta().unwrap();
    driven
        .core
        .stored(delta.number, Some(store.save(&delta, Duration::ZERO).unwrap()));
    let mut stream = Vec::new();
    let exported = store.export(&mut stream).unwrap().unwrap();
    assert_eq!(exported.bytes, stream.len() as u64);

    let path = folder.file("peer/stock-3.redb");
    let take = |bytes: &[u8]| -> Result<Carried, StoreError> {
        import::<Shop>(&path, identity(Topic::Stock), &mut &*bytes)
    };
    assert_eq!(take(&stream).unwrap(), exported);
    let mut peer = Driven::new(Topic::Stock);
    peer.log.clone_from(&driven.log);
    let opened = open(&path, Topic::Stock);
    peer.restart(opened.restored);
    for number in 0..40 {
        let key = Key::Stock(format!("sku-{number}").into());
        assert_eq!(peer.core.look_up(&key), driven.core.fold().state(&key));
    }
    for request in commands.sent() {
        let kept = peer.core.fold().kept(request.id).unwrap();
        assert_eq!(kept, driven.core.fold().kept(request.id).unwrap());
    }
    drop(peer);
    drop(opened.store);

    // Whatever else comes leaves what was there.
    let before = std::fs::read(&path).unwrap();
    let mut rng = Rng::with_seed(2);
    for _ in 0..60 {
        let mut damaged = stream.clone();
        if rng.bool() {
            damaged.truncate(rng.usize(..stream.len()));
        } else {
            let at = rng.usize(..stream.len());
            damaged[at] ^= 1 << rng.u8(..8);
        }
        assert!(matches!(take(&damaged), Err(StoreError::Unusable(_))));
    }
    let foreign = import::<Shop>(&path, identity(Topic::Orders), &mut stream.as_slice());
    assert!(matches!(foreign, Err(StoreError::Unusable(_))));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
