//! `/healthz`: the process answers. `/readyz`: it can do its work, or what is missing.
//!
//! Both are open to anyone, so they say names of parts and nothing about them, and `/readyz` asks the parts
//! at most once a second however often it is called.

use std::{
    fmt,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{HttpResponse, web};
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

/// How long an answer of the parts is taken for the present.
const FRESH: Duration = Duration::from_secs(1);

/// Whether a part works now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Works,
    /// It does not.
    Fails,
}

/// A part that must work, with its name and how to ask it.
pub struct Check {
    name: &'static str,
    ask: Box<dyn Fn() -> BoxFuture<'static, Health> + Send + Sync>,
}

impl Check {
    /// A part named `name`, asked by `ask`.
    pub fn new<F>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Health> + Send + 'static,
    {
        Self { name, ask: Box::new(move || Box::pin(ask())) }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Whether the process can do its work: one for the process, shared by all workers.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    checks: Vec<Check>,
    limit: Duration,
    draining: AtomicBool,
    last: Mutex<Option<(Instant, Vec<&'static str>)>>,
}

impl Readiness {
    /// Ready when each check works within `limit`; two seconds are usual.
    pub fn new(checks: Vec<Check>, limit: Duration) -> Self {
        Self(Arc::new(Inner { checks, limit, draining: AtomicBool::new(false), last: Mutex::new(None) }))
    }

    /// From now on not ready, so that a balancer sends nothing more while the process finishes.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether the process finishes.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    /// The names of what is missing; none when it is ready.
    pub async fn missing(&self) -> Vec<&'static str> {
        if self.is_draining() {
            return vec!["draining"];
        }
        let mut last = self.0.last.lock().await;
        if let Some((asked, missing)) = &*last
            && asked.elapsed() < FRESH
        {
            return missing.clone();
        }
        let asked = self.0.checks.iter().map(async |check| {
            let health = tokio::time::timeout(self.0.limit, (check.ask)()).await;
            (!matches!(health, Ok(Health::Works))).then_some(check.name)
        });
        let missing: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        *last = Some((Instant::now(), missing.clone()));
        missing
    }
}

/// The routes of both; they need `web::Data<Readiness>`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/healthz").route(web::get().to(healthz)))
        .service(web::resource("/readyz").route(web::get().to(readyz)));
}

/// `GET /healthz`: always 200 and empty.
pub fn healthz() -> Ready<HttpResponse> {
    ready(HttpResponse::Ok().finish())
}

/// `GET /readyz`: 200 `{"ready":true,"missing":[]}`, or 503 with the names of what is missing.
pub async fn readyz(readiness: web::Data<Readiness>) -> HttpResponse {
    let missing = readiness.missing().await;
    let mut response =
        if missing.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(json!({ "ready": missing.is_empty(), "missing": missing }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn what_fails_or_does_not_answer_in_time_is_named() {
        let checks = vec![
            Check::new("database", async || Health::Works),
            Check::new("bus", async || Health::Fails),
            Check::new("vault", std::future::pending),
        ];
        let readiness = Readiness::new(checks, Duration::from_millis(20));
        assert_eq!(readiness.missing().await, ["bus", "vault"]);
    }

    #[tokio::test]
    async fn j07_a_flood_of_calls_asks_the_parts_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        let check = Check::new("database", move || {
            seen.fetch_add(1, Ordering::Relaxed);
            async { Health::Works }
        });
        let readiness = Readiness::new(vec![check], Duration::from_secs(2));
        let answers = join_all((0..50).map(|_| readiness.missing())).await;
        assert!(answers.iter().all(Vec::is_empty));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_draining_process_is_not_ready() {
        let readiness = Readiness::new(Vec::new(), Duration::from_secs(2));
        assert_eq!(readyz(web::Data::new(readiness.clone())).await.status(), 200);
        readiness.drain();
        assert_eq!(readyz(web::Data::new(readiness)).await.status(), 503);
    }
}
