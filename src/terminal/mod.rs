//! The terminal: results on standard output, everything said about them on standard error.

mod event_line;

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

pub use event_line::{clock_time, event_line};

/// Both streams of a command. Each call writes one line, whole.
pub struct Terminal {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
}

impl Terminal {
    /// The streams of this process.
    pub fn standard() -> Self {
        Self::over(io::stdout(), io::stderr())
    }

    /// Any other two streams.
    pub fn over(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)), err: Mutex::new(Box::new(err)) }
    }

    /// Writes a line of the result. It fails where nobody reads any more.
    pub fn say(&self, line: impl Display) -> io::Result<()> {
        write_line(&self.out, &line)
    }

    /// Writes a line about the work itself. One that can't be written is lost: there is nowhere to say so.
    pub fn note(&self, line: impl Display) {
        let _ = write_line(&self.err, &line);
    }
}

fn write_line(stream: &Mutex<Box<dyn Write + Send>>, line: &dyn Display) -> io::Result<()> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(stream, "{line}")?;
    stream.flush()
}
