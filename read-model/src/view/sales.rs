//! What was sold, as it is shown, and the days that it is shown by.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::ToSpan;
use jiff::civil::{Date, date};
use schemas::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

const DAY_US: i64 = 86_400_000_000;
const EPOCH: Date = date(1970, 1, 1);

/// A day in UTC, as days since 1970-01-01. Shown as `YYYY-MM-DD`, and read only so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// A text that is no day or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither YYYY-MM-DD nor YYYY-MM")]
pub struct NoPeriod;

impl Day {
    /// The day of a time.
    pub fn of(at: Timestamp) -> Self {
        // At most 2^63 / DAY_US, which is a little over 10^8.
        Self(i32::try_from(at.micros().div_euclid(DAY_US)).unwrap_or_default())
    }

    fn of_date(date: Date) -> Self {
        Self((date - EPOCH).get_days())
    }

    /// Clamped to the years that a date has.
    fn date(self) -> Date {
        EPOCH.saturating_add(self.0.clamp(-4_371_587, 2_932_896).days())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(formatter)
    }
}

impl FromStr for Day {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        match numbers(text)?[..] {
            [year, month, day] => civil(year, month, day).map(Self::of_date),
            _ => Err(NoPeriod),
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the best sellers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// `YYYY-MM-DD`
    Day(Day),
    /// `YYYY-MM`, by its first day.
    Month(Day),
}

impl Period {
    /// Its days.
    pub fn days(self) -> RangeInclusive<Day> {
        match self {
            Self::Day(day) => day..=day,
            Self::Month(first) => first..=Day::of_date(first.date().last_of_month()),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => day.fmt(formatter),
            Self::Month(first) => first.date().strftime("%Y-%m").fmt(formatter),
        }
    }
}

impl FromStr for Period {
    type Err = NoPeriod;

    fn from_str(text: &str) -> Result<Self, NoPeriod> {
        match numbers(text)?[..] {
            [year, month, day] => civil(year, month, day).map(|date| Self::Day(Day::of_date(date))),
            [year, month] => civil(year, month, 1).map(|date| Self::Month(Day::of_date(date))),
            _ => Err(NoPeriod),
        }
    }
}

/// The numbers of `YYYY-MM` or `YYYY-MM-DD`, digits and nothing else.
fn numbers(text: &str) -> Result<Vec<i16>, NoPeriod> {
    if text.len() != 7 && text.len() != 10 {
        return Err(NoPeriod);
    }
    let number = |(part, width): (&str, usize)| {
        let digits = part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten().ok_or(NoPeriod)
    };
    text.split('-').zip([4, 2, 2]).map(number).collect()
}

fn civil(year: i16, month: i16, day: i16) -> Result<Date, NoPeriod> {
    let small = |number| i8::try_from(number).map_err(|_| NoPeriod);
    Date::new(year, small(month)?, small(day)?).map_err(|_| NoPeriod)
}

/// What was sold of a SKU on a day, in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SalesDay {
    /// The UTC day on which the orders were placed.
    #[schema(value_type = String, format = Date)]
    pub day: Day,
    /// Pieces.
    #[schema(value_type = i64)]
    pub quantity: i128,
    /// In minor units.
    #[schema(value_type = i64)]
    pub revenue_minor: i128,
    /// ISO 4217.
    pub currency: String,
}

/// One of the best sellers of a period. A SKU that was sold in several currencies has a row for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopProduct {
    /// What was sold.
    pub sku: String,
    /// Pieces.
    #[schema(value_type = i64)]
    pub quantity: i128,
    /// In minor units.
    #[schema(value_type = i64)]
    pub revenue_minor: i128,
    /// ISO 4217.
    pub currency: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_shown_and_not_otherwise() {
        for text in [
            "1970-01-01",
            "1969-12-31",
            "2026-11-22",
            "2024-02-29",
            "0001-01-01",
            "9999-12-31",
        ] {
            assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
            assert_eq!(text[..7].parse::<Period>().unwrap().to_string(), text[..7]);
        }
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2025-02-29",
            "2026-1-22",
            "2026-11-22T00:00",
            "+026-11",
            "20261122",
            "2026-11-2a",
            "2026-011",
            "2026-11-22-",
            "2026-1-122",
        ] {
            assert_eq!(text.parse::<Period>(), Err(NoPeriod), "{text}");
            assert_eq!(text.parse::<Day>(), Err(NoPeriod), "{text}");
        }
        assert_eq!("2026-11".parse::<Day>(), Err(NoPeriod));
    }

    #[test]
    fn a_time_belongs_to_its_utc_day() {
        assert_eq!(Day::of(Timestamp(0)), Day(0));
        assert_eq!(Day::of(Timestamp(DAY_US - 1)), Day(0));
        assert_eq!(Day::of(Timestamp(-1)), Day(-1));
        for at in [i64::MIN, i64::MAX] {
            assert!(!Day::of(Timestamp(at)).to_string().is_empty());
        }
        for at in [0, 1_700_000_000_123_456, -62_135_596_800_000_000] {
            let at = Timestamp(at);
            assert_eq!(Day::of(at).to_string(), at.rfc3339()[..10]);
        }
    }

    #[test]
    fn a_month_has_all_its_days() {
        let days = |text: &str| {
            let days = text.parse::<Period>().unwrap().days();
            (days.start().to_string(), days.end().to_string())
        };
        assert_eq!(
            days("2024-02"),
            ("2024-02-01".to_owned(), "2024-02-29".to_owned())
        );
        assert_eq!(
            days("2026-12"),
            ("2026-12-01".to_owned(), "2026-12-31".to_owned())
        );
        assert_eq!(
            days("2026-12-05"),
            ("2026-12-05".to_owned(), "2026-12-05".to_owned())
        );
    }
}
