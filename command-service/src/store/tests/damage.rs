//! Files that are damaged, foreign or in use.

use std::time::Duration;

use eventlog::Topic;
use fastrand::Rng;

use super::driven::{Commands, Driven};
use super::*;
use crate::store::format::{META, Meta, seal};
use crate::writer::{ColdError, Restored};

const AGGREGATES: u64 = 60;

type Change = fn(&mut Meta);

/// A snapshot's file, closed, and what is in it.
fn stored(path: &Path) -> (Driven, Commands) {
    let (_, driven, commands) = storing(path);
    (driven, commands)
}

/// A snapshot's file, open, and what is in it.
fn storing(path: &Path) -> (Store<Shop>, Driven, Commands) {
    let mut driven = Driven::new(Topic::Orders);
    let mut commands = Commands::new(Topic::Orders, 3, AGGREGATES, 1_000);
    let store = open(path, Topic::Orders).store;
    for round in 0..4 {
        for _ in 0..150 {
            driven.ask(&commands.next());
        }
        let delta = driven.core.delta().unwrap();
        let cold = store
            .save(&delta, Duration::from_secs(if round == 3 { 0 } else { 60 }))
            .unwrap();
        driven.core.stored(delta.number, Some(cold));
    }
    (store, driven, commands)
}

/// It says what the log says, or it says that it cannot.
fn is_right(restored: &Restored<Shop>, driven: &Driven, commands: &Commands) {
    assert_eq!(restored.checkpoint, driven.core.fold().checkpoint());
    for number in 0..AGGREGATES {
        let key = Key::Order(commands.aggregate(number));
        if let Ok(state) = restored.cold.state(&key) {
            assert_eq!(state.as_ref(), driven.core.fold().state(&key));
        }
    }
    for request in commands.sent() {
        if let Ok(old) = restored.cold.kept(request.id) {
            assert_eq!(
                old.map(|old| old.kept),
                driven.core.fold().kept(request.id).unwrap()
            );
        }
    }
}

#[test]
fn a_flipped_byte_never_makes_a_wrong_state() {
    let folder = Folder::new();
    let path = folder.file("good.redb");
    let (driven, commands) = stored(&path);
    let good = std::fs::read(&path).unwrap();
    let mut rng = Rng::with_seed(1);
    let damaged = folder.file("damaged.redb");
    let (mut discarded, mut used) = (0, 0);
    for _ in 0..150 {
        let mut bytes = good.clone();
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
        std::fs::write(&damaged, &bytes).unwrap();
        let opened = open(&damaged, Topic::Orders);
        assert_eq!(opened.restored.is_none(), opened.discarded.is_some());
        match &opened.restored {
            Some(restored) => {
                used += 1;
                is_right(restored, &driven, &commands);
            }
            None => discarded += 1,
        }
    }
    println!("{discarded} discarded, {used} flipped where nothing is");
    assert!(discarded > 10);
}

#[test]
fn what_is_damaged_while_it_is_open_costs_the_fold_and_nothing_else() {
    let folder = Folder::new();
    let path = folder.file("open.redb");
    let (store, mut driven, mut commands) = storing(&path);
    store.damage_commands();
    // The writer has all of it in memory, but the next snapshots merge what is stored, sooner or later.
    let damage = (0..8).find_map(|_| {
        for _ in 0..150 {
            driven.ask(&commands.next());
        }
        let delta = driven.core.delta().unwrap();
        match store.save(&delta, Duration::ZERO) {
            Ok(cold) => driven.core.stored(delta.number, Some(cold)),
            Err(StoreError::Unusable(reason)) => return Some(reason),
            Err(error) => panic!("{error}"),
        }
        None
    });
    driven.core.lose(&ColdError(damage.unwrap()));
    for _ in 0..50 {
        driven.ask(&commands.next());
    }
    let delta = driven.core.delta().unwrap();
    assert!(delta.from_nothing);
    let cold = store.save(&delta, Duration::ZERO).unwrap();
    driven.core.stored(delta.number, Some(cold));
    drop(store);
    let opened = open(&path, Topic::Orders);
    let restored = opened.restored.unwrap();
    for request in commands.sent() {
        assert!(restored.cold.kept(request.id).is_ok());
    }
    is_right(&restored, &driven, &commands);
}

#[test]
fn a_file_that_was_cut_off_is_thrown_away() {
    let folder = Folder::new();
    let path = folder.file("good.redb");
    let (driven, commands) = stored(&path);
    let good = std::fs::read(&path).unwrap();
    let damaged = folder.file("damaged.redb");
    for cut in [
        1,
        100,
        4_095,
        4_096,
        8_192,
        good.len() / 2,
        good.len() - 4_096,
        good.len() - 1,
    ] {
        std::fs::write(&damaged, &good[..cut]).unwrap();
        let opened = open(&damaged, Topic::Orders);
        if let Some(restored) = &opened.restored {
            is_right(restored, &driven, &commands);
        } else {
            assert!(opened.discarded.is_some(), "{cut}");
        }
        if cut <= good.len() / 2 {
            assert!(opened.restored.is_none(), "{cut}");
        }
    }
}

#[test]
fn what_is_no_snapshot_of_this_partition_is_thrown_away() {
    let folder = Folder::new();
    let path = folder.file("it.redb");
    let because = |wanted: Identity| {
        let opened = Store::<Shop>::open(&path, wanted, CACHE_BYTES).unwrap();
        assert!(opened.restored.is_none());
        opened.discarded.unwrap()
    };
    std::fs::write(&path, [7; 10_000]).unwrap();
    because(identity(Topic::Orders));
    stored(&path);
    because(Identity {
        log_id: LogId([8; 8]),
        ..identity(Topic::Orders)
    });
    stored(&path);
    because(identity(Topic::Stock));
    let changes: [Change; 2] = [|meta| meta.format += 1, |meta| meta.storage += 1];
    for change in changes {
        let (driven, _) = stored(&path);
        let mut meta = Meta::new::<Shop>(identity(Topic::Orders), driven.core.fold().checkpoint());
        change(&mut meta);
        {
            let database = redb::Database::open(&path).unwrap();
            let write = database.begin_write().unwrap();
            write
                .open_table(META)
                .unwrap()
                .insert([].as_slice(), seal(&[], &meta).as_slice())
                .unwrap();
            write.commit().unwrap();
        }
        assert!(because(identity(Topic::Orders)).contains("; wanted is "));
    }
    // What was made anew is as good as any.
    let (driven, commands) = stored(&path);
    is_right(&open(&path, Topic::Orders).restored.unwrap(), &driven, &commands);
}

#[test]
fn a_file_in_use_is_left_alone() {
    let folder = Folder::new();
    let path = folder.file("it.redb");
    let _first = open(&path, Topic::Orders);
    let second = Store::<Shop>::open(&path, identity(Topic::Orders), CACHE_BYTES);
    assert!(matches!(second.err(), Some(StoreError::InUse)));
}
