//! One record, one line (J03).
//!
//! The formatter writes a record in one piece and ends it with a line end. Every other control character in
//! it, and those that reorder text, came from a value: they are written as `\u001b`, which is also how JSON
//! writes them.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers whose records cannot be forged.
#[derive(Debug, Clone)]
pub struct OneLine<M>(M);

impl<M> OneLine<M> {
    /// Writers around those that `inner` makes.
    pub fn new(inner: M) -> Self {
        Self(inner)
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = LineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self.0.make_writer())
    }
}

/// Writes one record.
#[derive(Debug)]
pub struct LineWriter<W>(W);

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write_all(plain(&String::from_utf8_lossy(record)).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn plain(record: &str) -> String {
    let (body, end) = record.strip_suffix('\n').map_or((record, ""), |body| (body, "\n"));
    let mut line = String::with_capacity(record.len());
    for c in body.chars() {
        if c.is_control() || reorders(c) {
            let _infallible = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line + end
}

/// Line and paragraph separators, and the marks that change the direction of what follows.
fn reorders(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn j03_what_would_start_a_line_or_colour_the_terminal_is_shown() {
        assert_eq!(plain("a\r\nb\x1b[31m\u{9b}\u{202e}c\n"), "a\\u000d\\u000ab\\u001b[31m\\u009b\\u202ec\n");
    }

    proptest! {
        #[test]
        fn j03_a_record_is_one_line(text in any::<String>()) {
            let line = plain(&format!("{text}\n"));
            prop_assert_eq!(line.matches(char::is_control).count(), 1);
            prop_assert!(line.ends_with('\n'));
        }
    }
}
