use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpResponse, middleware::from_fn, test as actix, web};
use tracing_actix_web::TracingLogger;

use super::*;
use crate::{
    http::{
        frame::{Frame, Limits},
        hardening::harden,
        load::Load,
        span::RouteSpan,
    },
    seams::SystemEntropy,
};

#[derive(Clone, Default)]
pub(super) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn capturing(format: LogFormat, filter: &str) -> (Captured, tracing::subscriber::DefaultGuard) {
    let captured = Captured::default();
    let writer = captured.clone();
    let layer = layer(format, filter, OneLine::new(move || writer.clone())).unwrap();
    (captured, tracing_subscriber::registry().with(layer).set_default())
}

#[test]
fn j03_a_value_with_line_ends_and_colours_stays_in_its_record() {
    for format in [LogFormat::Readable, LogFormat::Json] {
        let (captured, _guard) = capturing(format, "info");
        let name = "hub\r\n2026-01-01 ERROR forged\x1b[2J\u{85}";
        tracing::info!(name, shown = %name, "said {name}");
        let text = captured.text();
        assert_eq!(text.matches(|c: char| c.is_control()).count(), 1, "{text:?}");
        if format == LogFormat::Json {
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(record["name"], name);
        }
    }
}

#[test]
fn j01_no_filter_makes_other_libraries_talk() {
    let (captured, _guard) = capturing(LogFormat::Readable, "trace");
    tracing::trace!(target: "actix_http::h1", "canary");
    tracing::debug!(target: "hyper::proto", "canary");
    tracing::trace!(target: "cloudlink::flows", "ours");
    let text = captured.text();
    assert!(!text.contains("canary") && text.contains("ours"), "{text}");
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let error = layer(LogFormat::Json, "info,=,=x=y", io::sink).err().unwrap();
    assert!(error.to_string().contains("log.filter"), "{error}");
}

#[actix_web::test]
async fn j01_a_request_is_logged_by_route_and_never_by_path_query_or_header() {
    let (captured, _guard) = capturing(LogFormat::Readable, "trace");
    let frame = Frame {
        public_url: "http://127.0.0.1:1".parse().unwrap(),
        trusted_proxies: Vec::new(),
        entropy: Arc::new(SystemEntropy),
        limits: Limits::default(),
        load: Load::new("test", 100),
    };
    let app = App::new()
        .app_data(web::Data::new(frame))
        .route("/connect/{handle}", web::get().to(async || HttpResponse::ImATeapot()))
        .wrap(TracingLogger::<RouteSpan>::new())
        .wrap(from_fn(harden));
    let app = actix::init_service(app).await;
    for path in ["/connect/canary-handle?code=canary-code", "/canary-path"] {
        let request = actix::TestRequest::get()
            .uri(path)
            .insert_header(("authorization", "Bearer canary-token"))
            .insert_header(("user-agent", "canary-agent"))
            .peer_addr("203.0.113.7:9".parse().unwrap());
        actix::call_service(&app, request.to_request()).await;
    }
    let text = captured.text();
    assert!(!text.contains("canary"), "{text}");
    for part in [
        "route=\"/connect/{handle}\"",
        "route=\"unmatched\"",
        "status=418",
        "network=203.0.113.7",
        "request_id=\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
