//! Clients that take their time.

use super::*;

/// Cuts off soon, though not those who are only slow because the machine is busy.
fn hasty() -> Running {
    let times = Times {
        body: Duration::from_millis(200),
        head: Duration::from_secs(2),
        idle: Duration::from_secs(1),
    };
    start_with("http://127.0.0.1:1", times)
}

#[actix_web::test]
async fn j04_a_slow_head_and_an_idle_connection_are_cut_off() {
    let server = hasty();
    assert_eq!(status(&server.raw("GET /get HTTP/1.1\r\nhost").await), "408");
    assert_eq!(status(&server.raw("").await), "408");
    assert_eq!(status(&server.raw("GET /get HTTP/1.1\r\nhost: a\r\n\r\n").await), "200");
}

#[actix_web::test]
async fn j04_a_slow_head_after_a_first_request_is_cut_off() {
    let server = hasty();
    let mut socket = server.connect().await;
    socket.write_all(b"GET /get HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_ne!(socket.read(&mut [0; 4096]).await.unwrap(), 0);
    socket.write_all(b"GET /get HTTP/1.1\r\nhost").await.unwrap();
    assert_eq!(rest(&mut socket).await, "");
}

#[actix_web::test]
async fn j04_a_slow_body_is_cut_off_whether_it_is_read_or_not() {
    let server = hasty();
    let length = "content-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    for body in [length, chunked] {
        assert_eq!(status(&server.raw(&format!("POST /json HTTP/1.1\r\nhost: a\r\n{body}")).await), "408");
        let answer = server.raw(&format!("POST /ignores HTTP/1.1\r\nhost: a\r\n{body}")).await;
        assert_eq!(status(&answer), "200", "{body} {answer}");
    }
}

#[actix_web::test]
async fn j04_two_hundred_slow_clients_do_not_slow_the_others() {
    let server = start("http://127.0.0.1:1");
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut socket = server.connect().await;
        socket.write_all(b"GET /get HTTP/1.1\r\nx: ").await.unwrap();
        slow.push(socket);
    }
    // Long before any of them is given up.
    let answer = timeout(PATIENCE / 2, server.get("/get", "")).await.unwrap();
    assert_eq!(status(&answer), "200");
}
