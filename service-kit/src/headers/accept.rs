//! `Accept`: everything here is JSON, but for streams, so the only question is whether the caller excludes it.

use http::{HeaderMap, header};

/// Whether the caller accepts `application/json` or `application/problem+json`. What cannot be read excludes nothing.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    match values.peek().map(|value| value.as_bytes()) {
        None | Some(b"*/*" | b"application/json") => return true,
        Some(_) => {}
    }
    let (mut any, mut json, mut problem) = (false, Best::default(), Best::default());
    for value in values {
        let Ok(text) = value.to_str() else { return true };
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            any = true;
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .map_or(1.0, |(_, weight)| weight.trim().parse::<f32>().unwrap_or(1.0));
            match media.as_str() {
                "*/*" => [&mut json, &mut problem]
                    .into_iter()
                    .for_each(|best| best.offer(1, weight)),
                "application/*" => [&mut json, &mut problem]
                    .into_iter()
                    .for_each(|best| best.offer(2, weight)),
                "application/json" => json.offer(3, weight),
                "application/problem+json" => problem.offer(3, weight),
                _ => {}
            }
        }
    }
    !any || json.accepted || problem.accepted
}

/// Whether the caller names `text/event-stream` among what it accepts, as those who ask for a stream do.
pub fn accepts_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|media| {
            ["text/event-stream", "text/*"]
                .iter()
                .any(|events| media.trim().eq_ignore_ascii_case(events))
        })
}

/// The most specific range so far that covers a type, and whether it admits it.
#[derive(Default)]
struct Best {
    specificity: u8,
    accepted: bool,
}

impl Best {
    fn offer(&mut self, specificity: u8, weight: f32) {
        if specificity > self.specificity {
            *self = Self {
                specificity,
                accepted: weight > 0.0,
            };
        } else if specificity == self.specificity {
            self.accepted |= weight > 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_its_name() {
        let of = |values: &[&str]| accepts_events(&headers(&header::ACCEPT, values));
        assert!(of(&["text/event-stream"]) && of(&["text/html, Text/Event-Stream;q=0.5"]) && of(&["text/*"]));
        assert!(!of(&["text/html"]) && !of(&[]));
    }

    #[test]
    fn only_an_exclusion_excludes() {
        let of = |values: &[&str]| accepts_json(&headers(&header::ACCEPT, values));
        for good in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["Application/*;q=0.1"],
            &["text/html", "application/problem+json"],
            &["text/html, */*;q=0.8"],
            &[""],
            &["application/json;q=0, */*"],
            &["application/json; charset=utf-8"],
        ] {
            assert!(of(good), "{good:?}");
        }
        for bad in [
            &["text/html"][..],
            &["application/xml, text/*"],
            &["*/*;q=0"],
            &["application/json;q=0"],
            &["application/*;q=0, */*;q=1"],
            &["application/json;q=0.0, application/problem+json;q=0, */*"],
        ] {
            assert!(!of(bad), "{bad:?}");
        }
    }
}
