//! Bounds what is logged: each place in the code writes so many records in a while, and the rest is counted.
//!
//! A database that is away is a warning for every connection, and a disk full of them is the next outage. What was left
//! out is told by one record for each place, and counted in the metrics. `debug` and `trace`, which an operator asks
//! for by name, are not bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Event, Level, Subscriber, callsite::Identifier};
use tracing_subscriber::{Layer, layer::Context};

use crate::domain::metric;

/// Records of one place in one [`WINDOW`].
const MOST_RECORDS: u64 = 200;
/// How long until a place may write again.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the records of each place. There are as many places as the code has.
#[derive(Debug, Clone, Default)]
pub(super) struct Flood(Arc<Mutex<HashMap<Identifier, Place>>>);

#[derive(Debug)]
struct Place {
    name: String,
    records: u64,
}

impl Flood {
    /// Starts the thread that lets places write again, for as long as the process lives.
    pub(super) fn start() -> Self {
        let flood = Self::default();
        let ended = flood.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(WINDOW);
                ended.end_window();
            }
        });
        flood
    }

    /// Counts a record, and says whether it is one too many.
    fn floods(&self, event: &Event<'_>) -> bool {
        let place = event.metadata();
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = places.entry(place.callsite()).or_insert_with(|| {
            let line = place.line().unwrap_or_default();
            Place { name: format!("{}:{line}", place.target()), records: 0 }
        });
        counted.records = counted.records.saturating_add(1);
        counted.records > MOST_RECORDS
    }

    /// Begins anew, and tells what was left out.
    fn end_window(&self) {
        let places = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for Place { name, records } in places.into_values() {
            let left_out = records.saturating_sub(MOST_RECORDS);
            if left_out > 0 {
                metrics::counter!(metric::LOG_RECORDS_LEFT_OUT).increment(left_out);
                tracing::warn!(place = name, left_out, "there were more records like these");
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for Flood {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        *event.metadata().level() > Level::INFO || !self.floods(event)
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

    use super::*;
    use crate::telemetry::{OneLine, tests::Captured};

    fn capturing(flood: &Flood) -> (Captured, DefaultGuard) {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false);
        let layer = layer.with_writer(OneLine::new(move || writer.clone()));
        (captured, tracing_subscriber::registry().with(flood.clone().and_then(layer)).set_default())
    }

    #[test]
    fn a_place_that_floods_is_cut_off_told_of_and_may_write_again_later() {
        let flood = Flood::default();
        let (captured, _guard) = capturing(&flood);
        let shout = || tracing::warn!("the database is away");
        (0..MOST_RECORDS + 50).for_each(|_| shout());
        tracing::warn!("another place");
        let count = |text: &str| u64::try_from(captured.text().matches(text).count()).unwrap();
        assert_eq!((count("the database is away"), count("another place")), (MOST_RECORDS, 1));
        flood.end_window();
        assert!(captured.text().contains("left_out=50"), "{}", captured.text());
        assert!(captured.text().contains("place=\"cloudlink::telemetry::flood::tests:"));
        shout();
        assert_eq!(count("the database is away"), MOST_RECORDS + 1);
    }
}
