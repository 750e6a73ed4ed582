//! One keep-alive connection that carries several requests at a time, so that the readers cost less than what they read.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Answers may be no longer than that.
const BODY_BYTES_MAX: usize = 16 << 20;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) token: String,
    pub(super) served_from: String,
    pub(super) etag: Option<u64>,
    pub(super) retry_after: bool,
    pub(super) body: String,
}

/// A connection.
pub(super) struct Wire {
    stream: BufReader<TcpStream>,
    authority: String,
    out: String,
}

impl Wire {
    /// Connects to a service.
    pub(super) async fn connect(url: &str) -> io::Result<Self> {
        let authority = url.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
            authority,
            out: String::new(),
        })
    }

    /// Adds a read to what is sent next.
    pub(super) fn get(&mut self, path: &str, headers: &[(&str, &str)]) {
        let _ = write!(self.out, "GET {path} HTTP/1.1\r\nhost: {}\r\n", self.authority);
        for (name, value) in headers {
            let _ = write!(self.out, "{name}: {value}\r\n");
        }
        self.out.push_str("\r\n");
    }

    /// Sends what was added.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        let sent = self.stream.get_mut().write_all(self.out.as_bytes()).await;
        self.out.clear();
        sent
    }

    /// The next answer.
    pub(super) async fn reply(&mut self) -> io::Result<Reply> {
        let mut reply = Reply::default();
        let (mut line, mut length) = (String::new(), 0);
        self.line(&mut line).await?;
        reply.status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| malformed(&line))?;
        loop {
            self.line(&mut line).await?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            match name {
                "content-length" => length = value.parse().map_err(|_| malformed(&line))?,
                "consistency-token" => value.clone_into(&mut reply.token),
                "served-from" => value.clone_into(&mut reply.served_from),
                "etag" => reply.etag = value.trim_matches('"').parse().ok(),
                "retry-after" => reply.retry_after = true,
                _ => {}
            }
        }
        if length > BODY_BYTES_MAX {
            return Err(malformed("a body that is too long"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        reply.body = String::from_utf8(body).map_err(|_| malformed("a body that is no text"))?;
        Ok(reply)
    }

    async fn line(&mut self, line: &mut String) -> io::Result<()> {
        line.clear();
        if self.stream.read_line(line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::other(format!("this is no answer: {what}"))
}
