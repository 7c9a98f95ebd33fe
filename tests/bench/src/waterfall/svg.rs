//! The picture: one bar a row, seconds along the width.

use std::fmt::Write as _;

use super::bars::Timeline;

const LABELS: f64 = 120.0;
const SECONDS: f64 = 860.0;
const MARGIN: f64 = 20.0;
const ROW: f64 = 22.0;
/// Title, the points' names one below the other, and the seconds.
const HEAD: f64 = 92.0;
const POINTS: f64 = 36.0;
const POINT: f64 = 14.0;
const STYLE: &str = "text{font:12px sans-serif;fill:#222}.tick{stroke:#ddd}.point{stroke:#777;stroke-dasharray:4 3}\
    .bar{fill:#8fb4d9}.open{fill:#d8e4f0}.critical{fill:#d9603b}.title{font-weight:bold}";

/// Draws the timeline; `critical` holds the indices of its critical bars.
pub(super) fn draw(timeline: &Timeline, critical: &[usize]) -> String {
    let bars = timeline.bars.iter();
    let points = timeline.points.iter();
    let end = bars
        .map(|bar| bar.end)
        .chain(points.map(|(_, at)| *at))
        .fold(1.0, f64::max);
    let x = |at: f64| LABELS + at / end * SECONDS;
    let rows = timeline.bars.len() as f64;
    let (width, height) = (LABELS + SECONDS + MARGIN, HEAD + rows * ROW + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let (target, at) = &timeline.target;
    // writing to a String never fails
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"18\">{} at {at:.2} s of the kernel's clock; its critical path \
         is marked</text>",
        escaped(target)
    );
    let mut second = 0.0;
    let step = if end > 40.0 { 5.0 } else { 1.0 };
    while second <= end {
        let at = x(second);
        let _ = writeln!(
            svg,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{HEAD}\" y2=\"{height}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{second}</text>",
            HEAD - 6.0
        );
        second += step;
    }
    for (row, bar) in timeline.bars.iter().enumerate() {
        let top = HEAD + row as f64 * ROW;
        let class = match (critical.contains(&row), bar.finished) {
            (true, _) => "critical",
            (false, true) => "bar",
            (false, false) => "open",
        };
        let length = bar.end - bar.start;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{name}: {length:.3} s from {:.3} s</title></rect>",
            LABELS - 8.0,
            top + 15.0,
            x(bar.start),
            top + 3.0,
            (x(bar.end) - x(bar.start)).max(1.0),
            ROW - 6.0,
            bar.start,
            name = escaped(&bar.name),
        );
    }
    for (row, (name, at)) in timeline.points.iter().enumerate() {
        let (at, top) = (x(*at), POINTS + row as f64 * POINT);
        let _ = writeln!(
            svg,
            "<line class=\"point\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{height}\"/>\
             <text x=\"{:.1}\" y=\"{top:.1}\" text-anchor=\"end\">{}</text>",
            at - 4.0,
            escaped(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::bars::tests::timeline;
    use super::super::critical::path;
    use super::*;

    #[test]
    fn draw_marks_the_critical_bars_alone() {
        let timeline = timeline();
        let critical = path(&timeline.bars, timeline.target.1);
        let svg = draw(&timeline, &critical);
        let class_of = |name: &str| {
            let line = svg
                .lines()
                .find(|line| line.contains(&format!(">{name}</text>")))
                .unwrap();
            line.split("rect class=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        };
        assert_eq!(class_of("state"), "critical");
        assert_eq!(class_of("netd"), "bar");
        assert_eq!(class_of("staker"), "open");
        assert_eq!(svg.matches("class=\"critical\"").count(), critical.len());
        assert_eq!(svg.matches("<rect class=").count(), timeline.bars.len());
    }

    #[test]
    fn draw_escapes_names() {
        assert_eq!(escaped("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
    }
}
