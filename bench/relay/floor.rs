//! The floors: what the same client costs a server that does nothing. Two of them: a bare actix-ws server, and frames by
//! hand on tokio. Both say one event when somebody connects, and answer each message with another.

use std::net::TcpListener;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Result;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

/// As long as an event is.
fn event() -> String {
    format!("{{\"type\":\"event\",\"event\":\"customns\",\"data\":\"{}\"}}", "x".repeat(500))
}

/// A bare actix-ws server. Says where it listens, as `cloudlink serve` does.
pub(crate) fn actix() -> Result<()> {
    cloudlink::http::server::raise_open_files()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    eprintln!("serving relay={}", listener.local_addr()?);
    let app = || App::new().route("/api/cloudlink/relay", web::get().to(upgrade));
    let server = HttpServer::new(app).workers(2).backlog(4096).listen(listener)?;
    Ok(actix_web::rt::System::new().block_on(server.run())?)
}

async fn upgrade(request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, mut stream) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        let mut said = session.text(event()).await;
        while said.is_ok() {
            match stream.recv().await {
                Some(Ok(actix_ws::Message::Text(_))) => said = session.text(event()).await,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    });
    Ok(response)
}

/// Frames by hand on tokio. Whatever it reads after the head is a message.
pub(crate) fn tokio() -> Result<()> {
    cloudlink::http::server::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(4096)?;
        eprintln!("serving relay={}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    })
}

async fn answer(mut stream: TcpStream) {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut first = true;
    while stream.readable().await.is_ok() && read(&stream) {
        let text = event();
        let mut bytes = if std::mem::take(&mut first) { accept.as_bytes().to_vec() } else { Vec::new() };
        bytes.extend([0x81, 126]);
        bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(text.as_bytes());
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn read(stream: &TcpStream) -> bool {
    let mut chunk = [0; 8 * 1024];
    !matches!(stream.try_read(&mut chunk), Ok(0))
}
