//! A small app on a port of its own, spoken to in bytes.

mod slow;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpResponse,
    dev::ServerHandle,
    web::{self, ServiceConfig},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    domain::clock::Entropy,
    http::{
        extract::{FormBody, JsonBody, OauthForm, OptionalJson, QueryPairs, StrictJson},
        load::Load,
        server::{Tuning, listen},
    },
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Named {
    #[allow(dead_code, reason = "only whether it fits is looked at")]
    name: String,
}

struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
    }
}

/// How long a client may take.
struct Times {
    body: Duration,
    head: Duration,
    idle: Duration,
}

struct Running {
    address: SocketAddr,
    handle: ServerHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        actix_web::rt::spawn(self.handle.stop(false));
    }
}

fn start(public_url: &str) -> Running {
    // Limits that nobody meets who is only slow because the machine is busy.
    start_with(public_url, Times { body: PATIENCE, head: PATIENCE, idle: PATIENCE })
}

fn start_with(public_url: &str, Times { body, head, idle }: Times) -> Running {
    let frame = Frame {
        public_url: public_url.parse().unwrap(),
        trusted_proxies: Vec::new(),
        entropy: Arc::new(Counting(AtomicU8::new(0))),
        limits: Limits { body_time: body, ..Limits::default() },
        load: Load::new("test", 100),
    };
    let tuning = Tuning {
        workers: Some(1),
        max_connections: 4000,
        head,
        idle,
        linger: Duration::from_millis(500),
        drain: Duration::ZERO,
    };
    let listening = listen("127.0.0.1:0".parse().unwrap(), frame, tuning, routes).unwrap();
    let handle = listening.server.handle();
    actix_web::rt::spawn(listening.server);
    Running { address: listening.address, handle }
}

fn routes(app: &mut ServiceConfig) {
    app.service(web::resource("/get").route(web::get().to(HttpResponse::Ok)))
        .service(web::resource("/page").route(web::get().to(async || page())))
        .service(web::resource("/panic").route(web::get().to(async || -> HttpResponse { panic!("canary") })))
        .service(web::resource("/number/{n}").route(web::get().to(async |n: web::Path<u8>| n.to_string())))
        .service(web::resource("/json").route(web::post().to(async |_: JsonBody| HttpResponse::Ok())))
        .service(
            web::resource("/named").route(web::post().to(async |_: StrictJson<Named>| HttpResponse::Ok())),
        )
        .service(
            web::resource("/optional")
                .route(web::post().to(async |body: OptionalJson<Named>| body.0.is_some().to_string())),
        )
        .service(web::resource("/form").route(web::post().to(async |_: FormBody| HttpResponse::Ok())))
        .service(web::resource("/token").route(web::post().to(async |_: OauthForm| HttpResponse::Ok())))
        .service(web::resource("/callback").route(web::get().to(callback)))
        .service(web::resource("/ignores").route(web::post().to(HttpResponse::Ok)));
}

fn page() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("content-security-policy", "default-src 'self'"))
        .insert_header(("cache-control", "max-age=60"))
        .insert_header(("access-control-allow-origin", "*"))
        .content_type("text/html; charset=utf-8")
        .body("<p>")
}

async fn callback(query: QueryPairs) -> Result<HttpResponse, Problem> {
    query.one("state")?;
    Ok(HttpResponse::Ok().finish())
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        rest(&mut socket).await
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")).await
    }

    async fn post(&self, path: &str, media_type: &str, body: &str) -> String {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
             content-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

/// Everything until the end of the connection, which must come.
async fn rest(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match timeout(PATIENCE, socket.read(&mut chunk)).await.expect("the server closes") {
            Ok(0) | Err(_) => return String::from_utf8(answer).unwrap().to_lowercase(),
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
        }
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[actix_web::test]
async fn d06_every_answer_has_the_headers_errors_included() {
    let server = start("https://link.example.org");
    for (answer, expected) in [
        (server.get("/get", "").await, "200"),
        (server.get("/nothing", "").await, "404"),
        (server.get("/panic", "").await, "500"),
        (server.get("/number/x", "").await, "404"),
        (server.get("/json", "").await, "405"),
        (server.post("/json", "text/plain", "{}").await, "415"),
        (server.get(&format!("/{}", "a".repeat(17_000)), "").await, "414"),
        (server.get("/get", &format!("x: {}\r\n", "a".repeat(33_000))).await, "431"),
    ] {
        assert_eq!(status(&answer), expected, "{answer}");
        for header in [
            "x-request-id: ",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "cross-origin-opener-policy: same-origin",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "strict-transport-security: max-age=31536000",
        ] {
            assert!(answer.contains(header), "{header} in {answer}");
        }
        if expected != "200" {
            assert!(answer.contains("content-type: application/problem+json"), "{answer}");
            assert!(answer.contains(&format!("\"status\":{expected}")), "{answer}");
        }
        assert!(!answer.contains("canary"), "{answer}");
    }
}

#[actix_web::test]
async fn d06_a_page_keeps_its_own_policy() {
    let answer = start("http://127.0.0.1:1").get("/page", "").await;
    assert!(answer.contains("content-security-policy: default-src 'self'\r\n"), "{answer}");
    assert!(answer.contains("cache-control: max-age=60"), "{answer}");
    assert!(!answer.contains("strict-transport-security"), "{answer}");
}

#[actix_web::test]
async fn d09_no_answer_has_a_cors_header() {
    let server = start("http://127.0.0.1:1");
    for path in ["/get", "/page", "/nothing"] {
        let answer = server.get(path, "origin: https://evil.example\r\n").await;
        assert!(!answer.contains("access-control-"), "{answer}");
    }
    let preflight = "OPTIONS /json HTTP/1.1\r\nhost: a\r\norigin: https://evil.example\r\n\
                     access-control-request-method: POST\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&server.raw(preflight).await), "405");
}

#[actix_web::test]
async fn the_request_id_is_never_the_callers() {
    let server = start("http://127.0.0.1:1");
    let answer = server.get("/get", "x-request-id: canary\r\n").await;
    assert!(!answer.contains("canary"), "{answer}");
    let id = |answer: &str| answer.split("x-request-id: ").nth(1).unwrap()[..16].to_owned();
    assert_ne!(id(&answer), id(&server.get("/get", "").await));
}

#[actix_web::test]
async fn a_wrong_method_learns_the_right_one() {
    let answer = start("http://127.0.0.1:1").get("/json", "").await;
    assert!(answer.contains("allow: post\r\n"), "{answer}");
}

#[actix_web::test]
async fn d01_head_is_no_get() {
    let head = "HEAD /callback?state=a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = start("http://127.0.0.1:1").raw(head).await;
    assert_eq!(status(&answer), "405");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[actix_web::test]
async fn a_panic_ends_its_request_only() {
    let both =
        "GET /panic HTTP/1.1\r\nhost: a\r\n\r\nGET /get HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = start("http://127.0.0.1:1").raw(both).await;
    let statuses: Vec<&str> = answer.split("http/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["500", "200"], "{answer}");
}

#[actix_web::test]
async fn j06_what_two_parsers_would_read_differently_is_refused() {
    let server = start("http://127.0.0.1:1");
    let head = "POST /form HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    for more in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\na=1\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\na=1\r\n0\r\n\r\n",
        "content-length: 3\r\ncontent-length: 4\r\n\r\na=1&",
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "host: b\r\ncontent-length: 0\r\n\r\n",
    ] {
        assert_eq!(status(&server.raw(&format!("{head}{more}")).await), "400", "{more}");
    }
    assert_eq!(status(&server.post("/json", JSON, r#"{"a":1,"a":2}"#).await), "400");
    assert_eq!(status(&server.post("/form", FORM, "a=1&a=2").await), "400");
    assert_eq!(status(&server.post("/form?a=1", FORM, "a=1").await), "400");
    assert_eq!(status(&server.post("/form?b=1", FORM, "a=1").await), "200");
    assert_eq!(status(&server.get("/callback?state=a&state=a", "").await), "400");
    let answer = server.post("/token?grant_type=x", FORM, "a=1").await;
    assert!(status(&answer) == "400" && answer.contains(r#""error":"invalid_request""#), "{answer}");
}

#[actix_web::test]
async fn i06_a_body_that_another_sites_form_can_send_is_no_json() {
    let server = start("http://127.0.0.1:1");
    for media_type in [
        "text/plain",
        FORM,
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/plain, application/json",
    ] {
        assert_eq!(status(&server.post("/json", media_type, "{}").await), "415", "{media_type}");
        assert_eq!(status(&server.post("/optional", media_type, "{}").await), "415", "{media_type}");
    }
    assert_eq!(status(&server.post("/json", "Application/JSON; charset=utf-8", "{}").await), "200");
    assert!(server.post("/optional", "text/plain", "").await.ends_with("false"));
    assert!(server.post("/optional", JSON, r#"{"name":"a"}"#).await.ends_with("true"));
}

#[actix_web::test]
async fn a_body_that_does_not_fit_is_answered_with_the_members_name() {
    let answer = start("http://127.0.0.1:1").post("/named", JSON, r#"{"name":7}"#).await;
    assert_eq!(status(&answer), "422");
    assert!(answer.contains(r#""errors":[{"field":"/name","detail":"must be a string"}]"#), "{answer}");
}

#[actix_web::test]
async fn j04_a_body_over_64_kib_is_refused_announced_or_not() {
    let server = start("http://127.0.0.1:1");
    let body = format!(r#"{{"a":"{}"}}"#, "a".repeat(64 * 1024));
    assert_eq!(status(&server.post("/json", JSON, &body).await), "413");
    let chunked = format!(
        "POST /json HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(status(&server.raw(&chunked).await), "413");
    let exact = format!(r#"{{"a":"{}"}}"#, "a".repeat(64 * 1024 - 8));
    assert_eq!(status(&server.post("/json", JSON, &exact).await), "200");
}
