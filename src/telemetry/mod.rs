//! What the operator sees: logs to standard error, and metrics.
//!
//! Guarantees: a record is one line, whatever stands in a name (J03, `line`); other libraries never log
//! below `info`, because some of them print headers and bodies there (J01, `ceiling`); a panic is logged
//! by its place alone, because its text may quote what it stumbled over (`log_panics`); no place in the code
//! fills the disk (`flood`). What a request's span holds is [`RouteSpan`](crate::http::span::RouteSpan)'s to say.

mod flood;
mod line;
mod meter;

use std::{io, panic};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{ParseError, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use flood::Flood;
pub use line::OneLine;
pub use meter::Metrics;

use crate::config::LogFormat;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter` is no filter.
    #[error(
        "log.filter is no filter; write a level like info, or levels by module like info,cloudlink=debug"
    )]
    Filter(#[source] ParseError),
    /// Something else logs already.
    #[error("logging was started twice")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
    /// Something else counts already.
    #[error("metrics cannot be recorded")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
}

/// Starts logging to standard error, and logs panics. Once in a process.
pub fn start(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let layer = layer(format, filter, OneLine::new(io::stderr))?;
    tracing_subscriber::registry()
        .with(Flood::start().and_then(layer))
        .try_init()
        .map_err(TelemetryError::Twice)?;
    log_panics();
    Ok(())
}

/// The layer that writes records that pass `filter` to `writer`.
fn layer<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Filters of the whole, not of this layer: after somebody only asked whether a record would be logged, a
    // layer's own filter drops the next one.
    let filter = EnvFilter::try_new(filter).map_err(TelemetryError::Filter)?.and_then(ceiling());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    Ok(match format {
        LogFormat::Readable => filter.and_then(layer).boxed(),
        LogFormat::Json => filter.and_then(layer.json().flatten_event(true)).boxed(),
    })
}

/// What no filter can lift.
fn ceiling() -> Targets {
    Targets::new().with_default(LevelFilter::INFO).with_target("cloudlink", LevelFilter::TRACE)
}

/// Replaces the standard report of a panic by a record with its place.
fn log_panics() {
    panic::set_hook(Box::new(|report| {
        let place = report.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug stopped a task");
    }));
}

#[cfg(test)]
mod tests;
