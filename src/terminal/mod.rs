//! The terminal: results on standard output, everything said about them on standard error.

mod event_line;
mod moment;
mod qr;
mod table;
mod text;

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, PoisonError},
};

pub use event_line::{clock_time, event_line, span};
pub use moment::{moment, moment_of};
pub use qr::qr_code;
pub use table::Table;
pub use text::{printable, printable_json, printable_within};

/// Both streams of a command. Each call writes one line, whole.
pub struct Terminal {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Whether a person watches standard error, so that a line may be written over.
    watched: bool,
}

impl Terminal {
    /// The streams of this process.
    pub fn standard() -> Self {
        Self { watched: io::stderr().is_terminal(), ..Self::over(io::stdout(), io::stderr()) }
    }

    /// Any other two streams.
    pub fn over(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)), err: Mutex::new(Box::new(err)), watched: false }
    }

    /// Writes a line of the result. It fails where nobody reads any more.
    pub fn say(&self, line: impl Display) -> io::Result<()> {
        write_line(&self.out, &line)
    }

    /// Writes a line about the work itself. One that can't be written is lost: there is nowhere to say so.
    pub fn note(&self, line: impl Display) {
        let _ = write_line(&self.err, &line);
    }

    /// Shows `line` in place of the one before, where a person watches; elsewhere nothing. An empty line clears.
    pub fn progress(&self, line: impl Display) {
        if self.watched {
            let mut stream = self.err.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = write!(stream, "\r\x1b[K{line}").and_then(|()| stream.flush());
        }
    }
}

fn write_line(stream: &Mutex<Box<dyn Write + Send>>, line: &dyn Display) -> io::Result<()> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(stream, "{line}")?;
    stream.flush()
}
