//! A hub without a battery: its clock is wrong until somebody sets it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::{DeviceKey, PluginClient};
use crate::{
    domain::ids::DeviceId,
    seams::{SystemClock, SystemEntropy},
};

#[tokio::test]
async fn a_hub_whose_clock_is_an_hour_off_signs_by_the_servers_clock() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let mut issued_at = Vec::new();
        for (status, body) in [
            (
                "400 Bad Request",
                r#"{"error":"invalid_grant","error_description":"the assertion expired 3000 s ago by this server's clock"}"#,
            ),
            ("200 OK", r#"{"access_token":"token-1","expires_in":3600}"#),
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            issued_at.push(issued(&String::from_utf8_lossy(&request[..read])));
            let head = format!(
                "HTTP/1.1 {status}\r\ndate: Fri, 02 Jan 2026 03:04:05 GMT\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        issued_at
    };
    let (key, _, _) = DeviceKey::make(&SystemEntropy).unwrap();
    let client = PluginClient {
        server: format!("http://{address}").parse().unwrap(),
        device: DeviceId::draw(&SystemEntropy),
        slot: None,
        key: Arc::new(key),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let (issued_at, token) = tokio::join!(serving, timeout(Duration::from_secs(20), client.access_token()));
    assert_eq!(token.unwrap().unwrap().expose(), "token-1");
    assert_eq!(issued_at[1], 1_767_323_045);
    assert_ne!(issued_at[0], issued_at[1]);
}

/// `iat` of the assertion in a request.
fn issued(request: &str) -> i64 {
    let assertion = request.rsplit("assertion=").next().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["iat"].as_i64().unwrap()
}
