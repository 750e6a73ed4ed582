//! Pings over real connections.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;

/// Nothing that is tested takes that long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(10);

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn id(n: u128) -> MemberId {
    MemberId(Uuid::from_u128(n))
}

fn pinger(of: MemberId, at: SocketAddr) -> (Pinger, Receiver<Finding>) {
    let (tell, told) = channel();
    let pinger = Pinger::start(of, at.to_string(), move |finding| {
        let _ = tell.send(finding);
    });
    (pinger.unwrap(), told)
}

/// Waits for a finding, and tells how long it took.
#[track_caller]
fn expect(told: &Receiver<Finding>, gone: bool) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        let finding = told.recv_timeout(DEADLINE).unwrap();
        if (finding == Finding::Gone) == gone {
            return begun.elapsed();
        }
    }
    panic!("not found out in {DEADLINE:?}");
}

#[test]
fn frames_are_told_from_other_bytes() {
    let frame = Frame { id: id(7), number: 9 };
    let bytes = frame.encode(PING);
    assert_eq!(Frame::decode(&bytes, PING), Some(frame));
    assert_eq!(Frame::decode(&bytes, ANSWER), None);
}

#[test]
fn whoever_ends_is_gone_at_once() {
    let responder = Responder::start(HERE, id(1)).unwrap();
    let (_pinger, told) = pinger(id(1), responder.address());
    expect(&told, false);
    responder.stop();
    println!("gone after {:?}", expect(&told, true));
}

#[test]
fn whoever_is_stopped_is_gone_and_comes_back() {
    let responder = Responder::start(HERE, id(1)).unwrap();
    let (_pinger, told) = pinger(id(1), responder.address());
    expect(&told, false);
    responder.set_silent(true);
    println!("gone after {:?}", expect(&told, true));
    responder.set_silent(false);
    println!("back after {:?}", expect(&told, false));
}

#[test]
fn another_process_on_the_same_port_is_not_taken_for_the_old_one() {
    let responder = Responder::start(HERE, id(2)).unwrap();
    let (_pinger, told) = pinger(id(1), responder.address());
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Finding::Gone));
}

#[test]
fn a_port_that_nobody_listens_on_is_gone() {
    let address = Responder::start(HERE, id(1))
        .map(|ended| ended.address())
        .unwrap();
    let (_pinger, told) = pinger(id(1), address);
    expect(&told, true);
}

#[test]
fn what_is_no_ping_is_hung_up_on() {
    use std::io::{Read, Write};
    let responder = Responder::start(HERE, id(1)).unwrap();
    let mut stream = std::net::TcpStream::connect(responder.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n  ").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
