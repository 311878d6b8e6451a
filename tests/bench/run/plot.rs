//! The medians as a picture: one block for each command, in it a bar of processor time for each runtime, and a mark where
//! its wall time ends.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LABELS: f64 = 130.0;
const BAR: f64 = 14.0;
const GAP: f64 = 30.0;
const COLORS: [(&str, &str); 5] = [
    ("keel", "#2a6f97"),
    ("crun", "#9aa5b1"),
    ("runc", "#c9b79c"),
    ("youki", "#b5838d"),
    ("floor", "#d8dee4"),
];

/// A command, and of each runtime its name, processor time and wall time in milliseconds.
pub(crate) type Block = (String, Vec<(String, f64, f64)>);

/// The picture as SVG.
pub(crate) fn svg(blocks: &[Block]) -> String {
    let longest = blocks.iter().flat_map(|(_, rows)| rows);
    let longest = longest.map(|(_, cpu, wall)| cpu.max(*wall)).fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - 70.0) / longest;
    let bars: usize = blocks.iter().map(|(_, rows)| rows.len()).sum();
    let height = bars as f64 * BAR + blocks.len() as f64 * GAP + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut y = 0.0;
    for (title, rows) in blocks {
        y += GAP;
        line(&mut out, &text(4.0, y - 6.0, title, " font-weight=\"bold\""));
        for (name, cpu, wall) in rows {
            line(&mut out, &text(14.0, y + 11.0, name, ""));
            let (end, mark) = (cpu * scale, LABELS + wall * scale);
            let color = COLORS.iter().find(|(known, _)| name == known).map_or("#888", |it| it.1);
            line(
                &mut out,
                &format!(
                    "<rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{end:.1}\" height=\"{:.1}\" fill=\"{color}\"/>",
                    y + 2.0,
                    BAR - 4.0
                ),
            );
            line(
                &mut out,
                &format!(
                    "<line x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"black\"/>",
                    y + 1.0,
                    y + BAR - 1.0
                ),
            );
            let after = LABELS + cpu.max(*wall) * scale + 5.0;
            line(&mut out, &text(after, y + 11.0, &format!("{cpu:.1}, {wall:.1} ms"), ""));
            y += BAR;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn line(out: &mut String, element: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{element}");
}

fn text(x: f64, y: f64, words: &str, more: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{words}</text>")
}
