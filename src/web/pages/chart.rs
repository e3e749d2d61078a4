//! Bars and charts as SVG. The values of a chart are also in a table.

use std::fmt::Write as _;

use super::clean::Clean;
use crate::clock::Seconds;

/// The units of a bar's length.
const LENGTH: i64 = 1000;
/// The size of the area of a chart.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 120.0;

/// A part of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Present,
    Built,
    Failed,
    Building,
    Queued,
    Rest,
}

impl Part {
    fn class(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Built => "built",
            Self::Failed => "failed",
            Self::Building => "building",
            Self::Queued => "queued",
            Self::Rest => "rest",
        }
    }
}

/// A bar of parts.
#[derive(Debug)]
pub(super) struct Bar {
    svg: String,
}

impl Bar {
    /// A bar whose parts are as long as their share. A part that is there is seen, however small.
    pub(super) fn new(parts: &[(Part, i64)]) -> Self {
        let total: i64 = parts.iter().map(|(_, count)| count.max(&0)).sum();
        let mut svg = format!(
            "<svg class='bar' viewBox='0 0 {LENGTH} 8' preserveAspectRatio='none' aria-hidden='true'>"
        );
        let (mut start, mut sum) = (0, 0);
        for (part, count) in parts.iter().filter(|(_, count)| *count > 0) {
            sum += count;
            let end = (LENGTH * sum / total).max(start + 3).min(LENGTH);
            let class = part.class();
            let _ = write!(svg, "<rect class='{class}' x='{start}' width='{}' height='8'/>", end - start);
            start = end;
        }
        svg.push_str("</svg>");
        Self { svg }
    }

    /// The SVG, for a template that does not escape it: none of it comes from outside.
    pub(super) fn svg(&self) -> &str {
        &self.svg
    }
}

/// A line of a chart.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// Times and percentages, the oldest first.
    pub(super) points: Vec<(Seconds, f64)>,
}

/// A chart of percentages over time.
#[derive(Debug)]
pub(super) struct Chart {
    svg: String,
    /// The labels of the lines, with their class.
    pub(super) labels: Vec<(Clean, String)>,
    /// The values: label, time, percentage.
    pub(super) values: Vec<(Clean, String, String)>,
}

impl Chart {
    /// A chart of these lines; `None` unless there are two points in time.
    pub(super) fn new(lines: &[Line], time: fn(Seconds) -> String) -> Option<Self> {
        let times = || lines.iter().flat_map(|line| line.points.iter().map(|(at, _)| *at));
        let (first, last) = (times().min()?, times().max()?);
        if first == last {
            return None;
        }
        let mut svg =
            format!("<svg class='chart' viewBox='0 -4 {WIDTH} {}' aria-hidden='true'>", HEIGHT + 8.0);
        for percent in [0.0, 50.0, 100.0] {
            let y = height(percent);
            let _ = write!(svg, "<path class='grid' d='M0 {y}H{WIDTH}'/>");
        }
        for (place, line) in lines.iter().enumerate() {
            let points = line.points.iter().map(|(at, percent)| {
                let x = seconds(at - first) / seconds(last - first) * WIDTH;
                format!("{x:.1},{:.1}", height(*percent))
            });
            let points: Vec<String> = points.collect();
            let _ = write!(svg, "<polyline class='{}' points='{}'/>", class(place), points.join(" "));
        }
        svg.push_str("</svg>");
        let value = |line: &Line| {
            let label = line.label.clone();
            let of_point = move |(at, percent): &(Seconds, f64)| {
                (Clean::line(&label), time(*at), format!("{percent:.1}"))
            };
            line.points.iter().rev().map(of_point).collect::<Vec<_>>()
        };
        let values = lines.iter().flat_map(value).collect();
        let labels = lines.iter().enumerate().map(|(place, line)| (Clean::line(&line.label), class(place)));
        Some(Self { svg, labels: labels.collect(), values })
    }

    /// The SVG, for a template that does not escape it: only numbers are in it.
    pub(super) fn svg(&self) -> &str {
        &self.svg
    }
}

fn seconds(span: Seconds) -> f64 {
    f64::from(u32::try_from(span).unwrap_or(u32::MAX))
}

/// The height at which a percentage is drawn.
fn height(percent: f64) -> f64 {
    (1.0 - percent.clamp(0.0, 100.0) / 100.0) * HEIGHT
}

/// Lines differ by their strokes; there are four.
fn class(place: usize) -> String {
    format!("line-{}", place % 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_there_is_seen_and_none_goes_past_the_end() {
        let bar = Bar::new(&[(Part::Present, 99_999), (Part::Failed, 1), (Part::Queued, 0)]);
        assert!(bar.svg().contains("class='present' x='0' width='999'"), "{}", bar.svg());
        assert!(bar.svg().contains("class='failed' x='999' width='1'"), "{}", bar.svg());
        assert!(!bar.svg().contains("queued"), "{}", bar.svg());
        assert!(!Bar::new(&[(Part::Rest, 0)]).svg().contains("rect"));
    }

    #[test]
    fn a_chart_needs_two_times_and_keeps_to_its_area() {
        let line = |points: &[(Seconds, f64)]| Line { label: "a".into(), points: points.to_vec() };
        assert!(Chart::new(&[line(&[(5, 50.0)])], |_| String::new()).is_none());
        let chart = Chart::new(&[line(&[(5, 0.0), (15, 100.0), (25, 120.0)])], |at| at.to_string()).unwrap();
        assert!(chart.svg().contains("points='0.0,120.0 450.0,0.0 900.0,0.0'"), "{}", chart.svg());
        assert_eq!(
            chart.values.first().map(|(_, at, percent)| (at.as_str(), percent.as_str())),
            Some(("25", "120.0"))
        );
    }
}
