//! Horizontal bars as SVG, readable on light and on dark pages.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 430.0;
const TOLD: f64 = 90.0;
const ROW: f64 = 24.0;
const TITLE: f64 = 34.0;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub label: String,
    pub value: f64,
    /// The least and the largest.
    pub range: Option<(f64, f64)>,
    /// What is written beside it.
    pub told: String,
    pub is_good: bool,
}

/// Some, on one scale.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub bars: Vec<Bar>,
    /// Where a line goes through all of them.
    pub mark: Option<f64>,
}

impl Bars {
    pub(super) fn svg(&self, title: &str) -> String {
        let largest = |bar: &Bar| bar.range.map_or(bar.value, |(_, max)| max.max(bar.value));
        let whole = self
            .bars
            .iter()
            .map(largest)
            .chain(self.mark)
            .filter(|value| value.is_finite())
            .fold(f64::MIN_POSITIVE, f64::max);
        let at = |value: f64| LABELS + (WIDTH - LABELS - TOLD) * (value / whole).clamp(0.0, 1.0);
        let height = self.bars.iter().fold(TITLE, |height, _| height + ROW) + 8.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\" fill=\"#1f2328\">{}</text>\n",
            escaped(title)
        );
        let mut top = TITLE;
        for bar in &self.bars {
            let color = if bar.is_good { "#2f7d4f" } else { "#c2410c" };
            let (middle, end) = (top + ROW * 0.5, at(bar.value));
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1f2328\">{}</text>\
                 <rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\"/>",
                LABELS - 8.0,
                middle + 4.5,
                escaped(&bar.label),
                top + 4.0,
                end - LABELS,
                ROW - 8.0,
            );
            let mut after = end;
            if let Some((min, max)) = bar.range.map(|(one, other)| (one.min(other), one.max(other))) {
                let _ = writeln!(
                    svg,
                    "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#1f2328\"/>",
                    at(min),
                    at(max)
                );
                after = after.max(at(max));
            }
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1f2328\">{}</text>",
                after + 6.0,
                middle + 4.5,
                escaped(&bar.told)
            );
            top += ROW;
        }
        if let Some(mark) = self.mark {
            let _ = writeln!(
                svg,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TITLE}\" y2=\"{top:.1}\" stroke=\"#1f2328\" stroke-dasharray=\"4 3\"/>",
                at(mark)
            );
        }
        svg + "</svg>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
