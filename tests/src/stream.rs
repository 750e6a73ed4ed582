//! Server-sent events as a client reads them.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::Client;

/// What a reader that is slow keeps unread on its side, in bytes, about.
const SLOW_BUFFER: u32 = 4_096;

/// An event of a stream, or what only says where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Where to come again.
    pub id: String,
    /// Its name; none where it shows nothing.
    pub event: Option<String>,
    /// Its data as JSON.
    pub data: Value,
}

/// A stream that is open.
#[derive(Debug)]
pub struct EventStream {
    source: Source,
    buffer: Vec<u8>,
}

/// Where a stream's bytes come from.
#[derive(Debug)]
enum Source {
    Client(reqwest::Response),
    /// A connection that takes in almost nothing before it is read: HTTP/1.1, in chunks.
    Slow(BufReader<TcpStream>),
}

impl EventStream {
    /// Opens one behind that event, or from now on. It must be answered.
    pub async fn open(client: &Client, path: &str, last_event_id: Option<&str>) -> Self {
        match Self::request(client, path, last_event_id).await {
            Ok(stream) => stream,
            Err(why) => panic!("{path} is not opened: {why}"),
        }
    }

    /// The same where the service may be away.
    pub async fn try_open(client: &Client, path: &str, last_event_id: Option<&str>) -> Option<Self> {
        Self::request(client, path, last_event_id).await.ok()
    }

    async fn request(client: &Client, path: &str, last_event_id: Option<&str>) -> Result<Self, String> {
        let mut request = client
            .query(path)
            .header("accept", "text/event-stream")
            .timeout(Duration::from_mins(5));
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        if status != 200 {
            let said = response.text().await.unwrap_or_default();
            return Err(format!("{status} {said}"));
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self::of(Source::Client(response)))
    }

    const fn of(source: Source) -> Self {
        let buffer = Vec::new();
        Self { source, buffer }
    }

    /// Opens one whose reader's side holds almost nothing, so that the service notices when nobody reads.
    pub async fn open_slow(client: &Client, path: &str) -> Self {
        let address = client.query_url.trim_start_matches("http://");
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket.set_recv_buffer_size(SLOW_BUFFER).expect("it can be small");
        let address = address.parse().expect("an address");
        let mut stream = socket.connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: tailwater\r\naccept: text/event-stream\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut stream = BufReader::with_capacity(512, stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("it answers");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.expect("it has headers");
        }
        Self::of(Source::Slow(stream))
    }

    /// More bytes; none where the stream ends or breaks.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        match &mut self.source {
            Source::Client(response) => response.chunk().await.ok()?.map(Vec::from),
            Source::Slow(stream) => {
                let mut size = String::new();
                stream.read_line(&mut size).await.ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                stream.read_exact(&mut chunk).await.ok()?;
                chunk.truncate(size);
                (size > 0).then_some(chunk)
            }
        }
    }

    /// The next thing that comes; none where the stream ends or breaks.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let block = std::mem::replace(&mut self.buffer, rest);
                let block = String::from_utf8(block).expect("it is UTF-8");
                return Some(parse(&block));
            }
            let chunk = self.chunk().await?;
            self.buffer.extend(chunk);
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Option<Sent> {
        loop {
            let sent = self.next().await?;
            if sent.event.is_some() {
                return Some(sent);
            }
        }
    }
}

fn parse(block: &str) -> Sent {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name));
        let value = lines.next().map(str::to_owned);
        assert!(lines.next().is_none(), "one {name} in {block}");
        value
    };
    let data = field("data: ").map(|text| serde_json::from_str(&text).expect("data is JSON"));
    Sent {
        id: field("id: ").unwrap_or_default(),
        event: field("event: "),
        data: data.unwrap_or_default(),
    }
}
