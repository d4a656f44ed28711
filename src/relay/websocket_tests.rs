use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::relay::{
    RelaySettings, Wire,
    fixture::Slot,
    protocol::LARGEST_MESSAGE,
    served::{Carrier, Served, over_both, quick, soon},
};

over_both! {
    h06_what_breaks_the_framing_ends_the_connection_with_its_code
    a_close_frame_is_answered_and_what_came_before_it_is_done
    frames_that_come_byte_by_byte_are_whole_in_the_end
    h08_a_peer_that_sends_half_a_frame_and_no_more_is_silent
}

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame::write(Opcode::Text, payload);
    let head = bytes.len() - payload.len();
    bytes[0] = first;
    bytes[1] |= 0x80;
    bytes.splice(head..head, [0; 4]);
    bytes
}

/// All that the server says, as frames, to its close frame or to the end of the connection.
async fn said(client: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Ok(next) = soon(next(client)).await {
        let is_last = next.0 == 0x88;
        frames.push(next);
        if is_last {
            break;
        }
    }
    frames
}

async fn next(client: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let first = client.read_u8().await?;
    let length = match client.read_u8().await? {
        126 => client.read_u16().await?,
        length => u16::from(length),
    };
    let mut payload = vec![0; usize::from(length)];
    client.read_exact(&mut payload).await?;
    Ok((first, payload))
}

async fn close_code_of(served: &Served, bytes: &[u8]) -> u16 {
    let mut client = served.bare().await;
    // The server may have closed before all was sent.
    let _ = client.write_all(bytes).await;
    let said = said(&mut client).await;
    let Some((0x88, payload)) = said.last() else {
        panic!("no close frame in {said:?} after {:?}", &bytes[..20.min(bytes.len())])
    };
    payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}

async fn h06_what_breaks_the_framing_ends_the_connection_with_its_code(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let text = |bytes: &[u8]| frame(0x81, bytes);
    let join = |frames: &[Vec<u8>]| frames.concat();
    for (what, bytes, code) in [
        ("unmasked", frame::write(Opcode::Text, b"{}"), 1002),
        ("a length with its highest bit set", [&[0x81, 0xff, 0x80][..], &[0; 11]].concat(), 1002),
        ("compressed", frame(0xc1, b"{}"), 1002),
        ("reserved opcode", frame(0x83, b""), 1002),
        ("long ping", frame(0x89, &[0; 126]), 1002),
        ("ping in parts", frame(0x09, b""), 1002),
        ("half a close code", frame(0x88, &[3]), 1002),
        ("a close code that may not be sent", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("a part of nothing", frame(0x80, b"x"), 1002),
        ("a message within another", join(&[frame(0x01, b"x"), text(b"y")]), 1002),
        ("a second beginning", join(&[frame(0x01, b"x"), frame(0x01, b"y")]), 1002),
        ("no UTF-8", text(b"\xff"), 1002),
        ("no UTF-8, in parts", join(&[frame(0x01, b"\xc3"), frame(0x80, b"(")]), 1002),
        ("a surrogate", text(b"\xed\xa0\x80"), 1002),
        ("binary", frame(0x82, b"x"), 1003),
        ("binary, the first part", frame(0x02, b"x"), 1003),
        ("too big", text(&vec![b'x'; 65 * 1024]), 1009),
        ("far too big, by its head", [&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0; 4]].concat(), 1009),
        (
            "too big in parts",
            join(&[frame(0x01, &vec![b'x'; 40_000]), frame(0x80, &vec![b'x'; 40_000])]),
            1009,
        ),
        ("endless parts", join(&[frame(0x01, b""), frame(0x00, b"").repeat(300)]), 1009),
    ] {
        // What follows a breach is not read as frames any more.
        let followed = [&bytes[..], &text(b"{}")].concat();
        assert_eq!(close_code_of(&served, &followed).await, code, "{what}");
    }
    soon(served.bench.relay.drained()).await;
}

async fn a_close_frame_is_answered_and_what_came_before_it_is_done(carrier: Carrier) {
    let served = Served::start(carrier, [Slot::at("a", 1)], quick());
    let mut client = served.bare().await;
    let ack = br#"{"type":"ack","slot":"a","version":1}"#;
    let closing = [frame(0x89, b"ping"), frame(0x81, ack), frame(0x88, &1000_u16.to_be_bytes())].concat();
    client.write_all(&closing).await.unwrap();
    let said = said(&mut client).await;
    assert_eq!(said.last(), Some(&(0x88, Vec::new())));
    assert!(said.contains(&(0x8a, b"ping".to_vec())), "{said:?}");
    assert_eq!(served.bench.database.acked("a"), 1);
}

async fn frames_that_come_byte_by_byte_are_whole_in_the_end(carrier: Carrier) {
    let served = Served::start(carrier, [], quick());
    let mut client = served.bare().await;
    for byte in [frame(0x01, b"{\"type\":"), frame(0x89, b"p"), frame(0x80, b"1}"), frame(0x88, b"")].concat()
    {
        client.write_all(&[byte]).await.unwrap();
        client.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let said = said(&mut client).await;
    assert!(
        said.iter().any(|(first, text)| *first == 0x81 && text.starts_with(b"{\"type\":\"error\"")),
        "{said:?}"
    );
}

/// A WebSocket that carries `unread` behind its handshake, and its peer.
async fn pair(unread: Vec<u8>) -> (WebSocket<Wire>, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (WebSocket::new(Wire::new(stream), unread), client)
}

#[actix_web::test]
async fn what_came_behind_the_head_of_the_handshake_is_read() {
    let (mut socket, client) =
        pair([frame(0x81, b"early"), frame(0x81, b"half")[..7].to_vec()].concat()).await;
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Text("early".to_owned()));
    drop(client);
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Gone);
}

#[actix_web::test]
async fn h06_a_peer_is_refused_once_and_then_only_its_close_frame_arrives() {
    let refused = [frame(0x82, b"x"), frame(0x01, b"x"), frame(0x80, b"y"), frame(0x89, b"")].concat();
    let huge = [&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0][..], &vec![0; 65537]].concat();
    let (mut socket, mut client) = pair([refused, huge].concat()).await;
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Refused(Close::Binary));
    soon(client.write_all(&frame(0x88, b""))).await.unwrap();
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Closes);
    assert!(socket.unread.is_empty());
}

#[actix_web::test]
async fn h06_behind_broken_framing_nothing_arrives_and_nothing_is_kept() {
    let (mut socket, mut client) = pair([frame(0x83, b""), frame(0x88, b"")].concat()).await;
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Refused(Close::Protocol));
    soon(client.write_all(&frame(0x88, b"").repeat(1000))).await.unwrap();
    drop(client);
    assert_eq!(soon(socket.recv(LARGEST_MESSAGE)).await, Arrival::Gone);
    assert!(socket.unread.is_empty());
}

async fn h08_a_peer_that_sends_half_a_frame_and_no_more_is_silent(carrier: Carrier) {
    let heartbeat = std::time::Duration::from_millis(100);
    let served = Served::start(carrier, [], RelaySettings { heartbeat, ..quick() });
    let mut client = served.bare().await;
    client.write_all(&frame(0x81, b"{}")[..5]).await.unwrap();
    soon(served.bench.relay.drained()).await;
    let code = said(&mut client).await.pop().unwrap().1;
    assert_eq!(code.first_chunk(), Some(&4408_u16.to_be_bytes()));
}
