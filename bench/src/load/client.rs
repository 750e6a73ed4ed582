//! One keep-alive connection to one of our services.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long one attempt may take before it counts as failed; a read may wait for up to 30 s.
const ATTEMPT: Duration = Duration::from_secs(35);
/// How long to wait before another attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 64;

/// Where a service is.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`.
    authority: String,
}

impl Target {
    /// From a base address, `http://host:port`.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let authority = url
            .strip_prefix("http://")
            .with_context(|| format!("{url} does not begin with http://"))?;
        let authority = authority.trim_end_matches('/');
        ensure!(!authority.contains('/'), "{url} has a path");
        let with_port = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self { authority: with_port })
    }
}

/// A request, ready to be sent any number of times. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Bytes,
}

impl Request {
    /// A read.
    pub fn get(target: &Target, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::new("GET", target, path, headers, None)
    }

    /// A write with a JSON body, under an idempotency key.
    pub fn post(target: &Target, path: &str, key: &str, json: &[u8]) -> Self {
        Self::new("POST", target, path, &[("idempotency-key", key)], Some(json))
    }

    fn new(method: &str, target: &Target, path: &str, headers: &[(&str, &str)], json: Option<&[u8]>) -> Self {
        let mut bytes = Vec::with_capacity(256 + json.map_or(0, <[u8]>::len));
        let mut put = |parts: &[&str]| {
            for part in parts {
                bytes.extend_from_slice(part.as_bytes());
            }
        };
        put(&[
            method,
            " ",
            path,
            " HTTP/1.1\r\nhost: ",
            &target.authority,
            "\r\n",
        ]);
        for (name, value) in headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        if let Some(json) = json {
            put(&[
                "content-type: application/json\r\ncontent-length: ",
                &json.len().to_string(),
                "\r\n",
            ]);
        }
        put(&["\r\n"]);
        bytes.extend_from_slice(json.unwrap_or_default());
        Self { bytes: bytes.into() }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Status line and headers, with the empty line behind them.
    head: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without headers, as a test wants it.
    #[cfg(test)]
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            head: Vec::new(),
            body: body.into(),
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(&self.head).ok()?;
        let header = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    }

    /// Status and body, for people.
    pub fn summary(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.status, body.chars().take(300).collect::<String>())
    }
}

/// One connection, made when it is needed and again when it breaks.
#[derive(Debug)]
pub struct Client {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// Attempts that failed or were answered 503, and were made again.
    pub retries: u64,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            stream: None,
            buffer: Vec::with_capacity(4096),
            retries: 0,
        }
    }

    /// Sends the request until it is answered with something else than 503: the same bytes, and so the same key.
    pub async fn send(&mut self, request: &Request, patience: Duration) -> anyhow::Result<Response> {
        let deadline = Instant::now() + patience;
        loop {
            let failure = match self.attempt(request).await {
                Ok(response) if response.status != 503 => return Ok(response),
                Ok(response) => anyhow!("answered {}", response.summary()),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(failure.context(format!(
                    "no answer from {} in {patience:?}",
                    self.target.authority
                )));
            }
            self.retries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends the request once.
    pub async fn attempt(&mut self, request: &Request) -> anyhow::Result<Response> {
        let answer = match timeout(ATTEMPT, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(anyhow!("the attempt took too long")),
        };
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self, request: &Request) -> anyhow::Result<Response> {
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => connect(&self.target).await?,
        };
        stream.write_all(&request.bytes).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = Head::of(&self.buffer)? {
                break head;
            }
            ensure!(
                self.buffer.len() < HEAD_BYTES_MAX,
                "the answer's head does not end"
            );
            read_more(&mut stream, &mut self.buffer).await?;
        };
        let end = head.bytes + head.body_bytes;
        while self.buffer.len() < end {
            read_more(&mut stream, &mut self.buffer).await?;
        }
        let response = Response {
            status: head.status,
            head: self.buffer[..head.bytes].to_vec(),
            body: self.buffer[head.bytes..end].to_vec(),
        };
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

/// Whether the other side has neither closed a connection that nothing is expected on, nor said anything.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

async fn connect(target: &Target) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(&target.authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        bail!("the connection was closed before the answer was there");
    }
    Ok(())
}

/// What an answer's head says of the rest.
struct Head {
    status: u16,
    /// Its own length.
    bytes: usize,
    body_bytes: usize,
    /// Whether the connection ends with the answer.
    closes: bool,
}

impl Head {
    /// None as long as it is not all there.
    fn of(buffer: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(bytes) = response.parse(buffer).context("the answer is no HTTP")?
        else {
            return Ok(None);
        };
        let status = response.code.context("the answer has no status")?;
        let (mut length, mut closes) = (None, false);
        for header in &*response.headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                length = Some(std::str::from_utf8(header.value)?.parse()?);
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes |= header.value.eq_ignore_ascii_case(b"close");
            }
        }
        let body_bytes = match (length, status) {
            (Some(length), _) => length,
            (None, 204 | 304) => 0,
            (None, _) => bail!("an answer without content-length is not ours"),
        };
        Ok(Some(Self {
            status,
            bytes,
            body_bytes,
            closes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A service that gives these answers, one for each request, each on the connection it came on.
    async fn service(answers: Vec<&'static str>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            let mut answers = answers.into_iter().peekable();
            while answers.peek().is_some() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                while answers.peek().is_some() && stream.read(&mut request).await.unwrap() > 0 {
                    let answer = answers.next().unwrap();
                    // In two pieces, since a network may do that.
                    let (first, rest) = answer.split_at(answer.len() / 2);
                    stream.write_all(first.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    tokio::task::yield_now().await;
                    stream.write_all(rest.as_bytes()).await.unwrap();
                    if answer.contains("close") {
                        break;
                    }
                }
            }
        });
        target
    }

    #[tokio::test]
    async fn answers_come_one_after_the_other_on_one_connection() {
        let first = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConsistency-Token: abc\r\n\r\n{}";
        let target = service(vec![first, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]).await;
        let mut client = Client::new(&target);
        let request = Request::post(&target, "/v1/orders", "key", b"{}");
        let answer = client.attempt(&request).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("consistency-token")),
            (201, Some("abc"))
        );
        assert_eq!(answer.body, b"{}");
        assert_eq!(client.attempt(&request).await.unwrap().status, 404);
    }

    #[tokio::test]
    async fn what_failed_or_was_put_off_is_sent_again() {
        let unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let broken = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{}";
        let done = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let target = service(vec![unavailable, broken, done]).await;
        let mut client = Client::new(&target);
        let request = Request::get(&target, "/", &[("prefer", "wait=1")]);
        let answer = client.send(&request, Duration::from_secs(30)).await.unwrap();
        assert_eq!((answer.status, client.retries), (200, 2));
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_nobody_used_it_is_not_used_again() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let served = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut client = Client::new(&target);
        let request = Request::get(&target, "/", &[]);
        client.attempt(&request).await.unwrap();
        // It is closed with the end of the first turn; that may take a moment to arrive.
        while client.stream.as_ref().is_some_and(is_open) {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.attempt(&request).await.unwrap().status, 200);
        served.await.unwrap();
    }

    #[test]
    fn a_base_address_is_checked() {
        assert!(Target::new("https://127.0.0.1:1").is_err());
        assert!(Target::new("http://127.0.0.1:1/v1").is_err());
    }
}
