//! Asks each component, in its own protocol, whether it is ready. Small and by hand, so that set-up needs no clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ATTEMPT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// No answer that we ask for is larger.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Tries `ready` until it holds, `given_up` says that it never will, or the deadline passes.
pub(crate) fn wait(deadline: Duration, ready: impl Fn() -> bool, given_up: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if ready() {
            return true;
        }
        if given_up() || begun.elapsed() > deadline {
            return false;
        }
        sleep(PAUSE);
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, ATTEMPT).ok()?;
    stream.set_read_timeout(Some(ATTEMPT)).ok()?;
    stream.set_write_timeout(Some(ATTEMPT)).ok()?;
    Some(stream)
}

/// Whether an HTTP GET of `path` is answered with 200.
pub fn http_ok(port: u16, path: &str) -> bool {
    http_status(port, path) == Some(200)
}

/// The status that an HTTP GET of `path` is answered with.
pub fn http_status(port: u16, path: &str) -> Option<u16> {
    let mut stream = connect(port)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut line = [0; 12];
    stream.read_exact(&mut line).ok()?;
    std::str::from_utf8(&line)
        .ok()?
        .strip_prefix("HTTP/1.")?
        .get(2..5)?
        .parse()
        .ok()
}

/// The body of an HTTP GET, status regardless.
pub fn http_body(port: u16, path: &str) -> Option<String> {
    let mut stream = connect(port)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Whether Redis answers PING with PONG, which it does only once its data is loaded.
pub fn redis(port: u16) -> bool {
    let ask = || -> Option<bool> {
        let mut stream = connect(port)?;
        stream.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).ok()?;
        Some(&answer == b"+PONG")
    };
    ask().unwrap_or(false)
}

/// Whether Postgres accepts a connection of `user` to `database`, by its own start-up message (trust authentication).
pub fn postgres(port: u16, user: &str, database: &str) -> bool {
    let ask = || -> Option<bool> {
        let mut body = 196_608_i32.to_be_bytes().to_vec(); // protocol 3.0
        for word in ["user", user, "database", database, ""] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        let mut message = i32::try_from(body.len() + 4).ok()?.to_be_bytes().to_vec();
        message.extend(body);
        let mut stream = connect(port)?;
        stream.write_all(&message).ok()?;
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).ok()?;
        // R: authentication. Even the demand for a password says that it serves; an error (E) says starting up.
        Some(answer[0] == b'R')
    };
    ask().unwrap_or(false)
}

/// How many brokers the cluster's metadata names, asked of one of them (Metadata, version 4).
pub fn kafka_brokers(port: u16) -> Option<usize> {
    let mut request = Vec::new();
    request.extend_from_slice(&3_i16.to_be_bytes()); // Metadata
    request.extend_from_slice(&4_i16.to_be_bytes()); // version
    request.extend_from_slice(&1_i32.to_be_bytes()); // correlation id
    request.extend_from_slice(&(-1_i16).to_be_bytes()); // no client id
    request.extend_from_slice(&0_i32.to_be_bytes()); // no topics
    request.push(0); // create none
    let mut message = i32::try_from(request.len()).ok()?.to_be_bytes().to_vec();
    message.extend(request);

    let mut stream = connect(port)?;
    stream.write_all(&message).ok()?;
    // Size, correlation id, throttle time, then the array of brokers.
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).ok()?;
    let count = i32::from_be_bytes(answer[12..16].try_into().ok()?);
    usize::try_from(count).ok()
}
