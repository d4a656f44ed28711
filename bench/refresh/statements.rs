//! Which statements ran how often, by the name in their first line: heard from sqlx's log while somebody listens.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

const TARGET: &str = "sqlx::query";
/// How statements of the measurement itself begin.
const OURS: &str = "bench_";

/// The count.
#[derive(Clone, Default)]
pub(crate) struct Statements {
    listening: Arc<AtomicBool>,
    ran: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Statements {
    /// Hears what this process says from now on, and prints its warnings.
    pub(crate) fn install() -> Self {
        let statements = Self::default();
        tracing_subscriber::registry().with(statements.clone()).init();
        statements
    }

    /// Begins to count, or ends.
    pub(crate) fn listen(&self, listen: bool) {
        self.listening.store(listen, Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// What ran since the last call.
    pub(crate) fn take(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.ran.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN || (self.listening.load(Relaxed) && metadata.target() == TARGET)
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut heard = Heard::default();
        event.record(&mut heard);
        if event.metadata().target() != TARGET {
            eprintln!("{} {}", event.metadata().level(), heard.text);
        } else if !heard.statement.starts_with(OURS) {
            *self.ran.lock().unwrap_or_else(PoisonError::into_inner).entry(heard.statement).or_default() += 1;
        }
    }
}

#[derive(Default)]
struct Heard {
    statement: String,
    text: String,
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String can't fail.
        let _ = write!(self.text, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            let name = value.trim_start_matches("-- ").split(' ').next();
            self.statement = name.unwrap_or_default().to_lowercase();
        }
        self.record_debug(field, &value);
    }
}
