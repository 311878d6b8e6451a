//! Columns as docker's: at least ten wide, three spaces between them, headers in capitals.

/// A column with the spaces behind it is at least so wide.
const COLUMN_MIN: usize = 10;
const SPACES: usize = 3;

/// Lays out `rows`, the first of which is the header.
pub(crate) fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> =
        (0..columns).map(|column| (width(column) + SPACES).max(COLUMN_MIN)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column + 1 == row.len() {
                line.push_str(cell);
            } else {
                line.push_str(&format!("{cell:<width$}", width = widths[column]));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_all_columns_but_the_last() {
        let rows = [["A", "LONG", "C"], ["aaaaaaaaa", "b", "c"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(layout(&rows), "A           LONG      C\naaaaaaaaa   b         c\n");
    }
}
