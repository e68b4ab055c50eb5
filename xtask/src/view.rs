//! Text for people: numbers with three digits, tables, sparklines, and a view that redraws itself.

use std::io::{self, IsTerminal as _, Write as _};

/// A number with three significant digits.
fn three(value: f64) -> String {
    // The limits are where rounding would give one digit more.
    if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A number with three significant digits, in the largest unit that leaves it at least one.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |(size, _): &&(f64, &str)| value >= *size * 0.9995;
    let (size, unit) = units.iter().find(fits).or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{}{unit}", three(value / size))
}

/// A duration.
pub(crate) fn seconds(value: f64) -> String {
    scaled(value, &[(1.0, " s"), (1e-3, " ms"), (1e-6, " µs"), (1e-9, " ns")])
}

/// A number of calls a second.
pub(crate) fn rate(value: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and far below 2^64"
    )]
    let whole = value.round() as u64;
    if value > 0.0 && whole < 1000 { three(value) } else { grouped(whole) }
}

/// Bytes as megabytes, a million each.
pub(crate) fn megabytes(bytes: f64) -> String {
    if bytes == 0.0 { "0".into() } else { three(bytes / 1e6) }
}

/// A whole number with its thousands apart.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table with a header; the first `left` columns are aligned to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], left: usize) -> Vec<String> {
    let length = |text: &str| text.chars().count();
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let space = " ".repeat(width - length(cell));
            if column < left { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.into_iter().map(line).collect()
}

/// A bar for each value, by its logarithm between the lowest and the highest; a space where there is none.
pub(crate) fn sparkline(values: &[Option<f64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let logs: Vec<Option<f64>> = values.iter().map(|value| value.map(f64::log2)).collect();
    let low = logs.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let high = logs.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    // At least one doubling, or noise would fill the whole height.
    let height = (high - low).max(1.0);
    let bar = |log: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let level = ((log - low) / height * 7.0).round() as usize;
        BARS[level.min(7)]
    };
    logs.into_iter().map(|log| log.map_or(' ', bar)).collect()
}

/// Lines at the bottom of a terminal, drawn over again.
#[derive(Default)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Whether lines can be drawn over.
    pub(crate) fn redraws() -> bool {
        io::stdout().is_terminal()
    }

    /// Draws the lines in the place of those before.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = if self.drawn == 0 { String::new() } else { format!("\x1b[{}A", self.drawn) };
        let columns = columns();
        for line in lines {
            // A line that wraps would be two, and the next drawing one line off.
            text.extend(line.chars().take(columns));
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// How wide the terminal is.
fn columns() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, and `size` is one that outlives the call.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if answer == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_the_unit_that_fits() {
        let cases = [
            (0.0, "0.00 ns"),
            (999.4e-9, "999 ns"),
            (999.6e-9, "1.00 µs"),
            (12.34e-6, "12.3 µs"),
            (999.96e-6, "1.00 ms"),
            (1.004e-3, "1.00 ms"),
            (123.4e-3, "123 ms"),
            (9.996, "10.0 s"),
            (32.0, "32.0 s"),
        ];
        for (value, text) in cases {
            assert_eq!(seconds(value), text, "{value}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.25, 12.34, 999.4, 12_345.6].map(rate), ["0", "0.25", "12.3", "999", "12,346"]);
        assert_eq!([0.0, 4096.0, 12_345_678.0].map(megabytes), ["0", "0.00", "12.3"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn columns_line_up_by_characters() {
        let rows = [vec!["wal".into(), "12 µs".into()], vec!["other".into(), "1 s".into()]];
        assert_eq!(table(&["class", "p50"], &rows, 1), ["class    p50", "wal    12 µs", "other    1 s"]);
    }

    #[test]
    fn a_sparkline_is_logarithmic_and_calm_about_noise() {
        assert_eq!(sparkline(&[Some(1.0), None, Some(128.0), Some(2.0)]), "▁ █▂");
        assert_eq!(sparkline(&[Some(1.0), Some(1.01)]), "▁▁");
        assert_eq!(sparkline(&[None, None]), "  ");
    }
}
