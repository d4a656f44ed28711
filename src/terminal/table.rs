//! Columns for a person to read: aligned by spaces, a head in capitals, nothing drawn.

use super::text::printable_within;

/// The most characters of a cell; the last column is not cut.
const WIDEST: usize = 60;
/// What stands where there is nothing.
const NOTHING: &str = "-";

/// Rows under a head. Cells are made [printable](super::printable) as they come in.
#[derive(Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// With a head and no rows.
    pub fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_uppercase)] }
    }

    /// Adds a row. An empty cell is shown as a dash.
    pub fn row(&mut self, cells: [&str; N]) {
        let mut column = 0;
        self.rows.push(cells.map(|cell| {
            column += 1;
            let longest = if column == N { usize::MAX } else { WIDEST };
            let cell = printable_within(cell, longest);
            if cell.is_empty() { NOTHING.to_owned() } else { cell }
        }));
    }

    /// Whether it has a row.
    pub fn has_rows(&self) -> bool {
        self.rows.len() > 1
    }

    /// The lines, head first, without space at their ends.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.rows.iter().map(move |row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines<const N: usize>(table: &Table<N>) -> Vec<String> {
        table.lines().collect()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["slot", "status", "plugin"]);
        assert!(!table.has_rows());
        table.row(["heating", "linked", "acme"]);
        table.row(["küche", "", "acme-2"]);
        assert!(table.has_rows());
        assert_eq!(
            lines(&table),
            ["SLOT     STATUS  PLUGIN", "heating  linked  acme", "küche    -       acme-2"]
        );
    }

    #[test]
    fn a_long_cell_is_cut_unless_it_is_the_last() {
        let long = "x".repeat(80);
        let mut table = Table::new(["a", "b"]);
        table.row([&long, &long]);
        assert_eq!(lines(&table)[1], format!("{}…  {long}", "x".repeat(60)));
    }

    proptest! {
        #[test]
        fn j03_whatever_a_cell_holds_a_row_is_one_harmless_line(first in any::<String>(), second in any::<String>()) {
            let mut table = Table::new(["a", "b"]);
            table.row([&first, &second]);
            let lines = lines(&table);
            prop_assert_eq!(lines.len(), 2);
            prop_assert!(!lines[1].contains(crate::domain::label::is_disruptive), "{:?}", lines);
        }
    }
}
