//! `Prefer` (RFC 7240): `wait=<seconds>` and `respond-async`. Other preferences are ignored, as the RFC asks.

use std::time::Duration;

use http::HeaderMap;

use super::names;
use crate::Problem;

/// How long a read waits unless the caller says otherwise.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(2);
/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// What the caller prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `wait=<s>`, at most [`WAIT_MAX`].
    pub wait: Option<Duration>,
    /// `respond-async`
    pub respond_async: bool,
}

impl Prefer {
    /// How long to wait.
    pub fn patience(self) -> Duration {
        self.wait.unwrap_or(WAIT_DEFAULT)
    }
}

/// The preferences of a request; the first of two equal ones counts. 400 where `wait` is no number of seconds.
pub fn prefer(headers: &HeaderMap) -> Result<Prefer, Problem> {
    let mut prefer = Prefer::default();
    for value in headers.get_all(names::PREFER) {
        let text = value
            .to_str()
            .map_err(|_| Problem::malformed_header("prefer", "is not visible ASCII"))?;
        for preference in text.split(',') {
            let essence = preference.split(';').next().unwrap_or_default();
            let (name, value) = essence.split_once('=').unwrap_or((essence, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                prefer.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && prefer.wait.is_none() {
                prefer.wait = Some(seconds(value)?);
            }
        }
    }
    Ok(prefer)
}

fn seconds(text: &str) -> Result<Duration, Problem> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::malformed_header(
            "prefer",
            "wait is not a number of seconds",
        ));
    }
    // More digits than fit are more than the longest wait.
    Ok(text.parse().map_or(WAIT_MAX, Duration::from_secs).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn wait_and_respond_async() {
        let of = |values: &[&str]| {
            prefer(&headers(&names::PREFER, values)).map_err(|problem| problem.status().as_u16())
        };
        let wait = |s: u64| {
            Ok(Prefer {
                wait: Some(Duration::from_secs(s)),
                respond_async: false,
            })
        };
        assert_eq!(of(&[]), Ok(Prefer::default()));
        assert_eq!(Prefer::default().patience(), WAIT_DEFAULT);
        assert_eq!(of(&["wait=5"]), wait(5));
        assert_eq!(of(&["Wait = \"0\""]), wait(0));
        assert_eq!(of(&["wait=31"]), wait(30));
        assert_eq!(of(&["wait=99999999999999999999999"]), wait(30));
        assert_eq!(of(&["wait=1, wait=2", "wait=3"]), wait(1));
        assert_eq!(of(&["handling=lenient; a=b, wait=4;x"]), wait(4));
        let both = Prefer {
            wait: Some(Duration::from_secs(10)),
            respond_async: true,
        };
        assert_eq!(of(&["respond-async, wait=10"]), Ok(both));
        assert_eq!(of(&["Respond-Async", "wait=10"]), Ok(both));
        for bad in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=x"] {
            assert_eq!(of(&[bad]), Err(400), "{bad}");
        }
    }
}
