use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::kit::Kernel;

/// Subscribes to everything and then reads nothing more.
async fn stalled_subscriber(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await.unwrap();
    stream
        .write_all(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB")
        .await
        .unwrap();
    stream.write_all(b"\x00\x01\x01").await.unwrap();
    let mut first = [0; 65];
    stream.read_exact(&mut first).await.unwrap();
    stream
}

#[tokio::test]
async fn a_reader_that_stalls_delays_neither_the_cell_nor_other_readers() {
    let kernel = Kernel::start().await;
    let stalled = stalled_subscriber(kernel.info.iopub_port).await;
    let mut client = kernel.client().await;
    // More than the sockets and the mailbox of the stalled reader hold.
    let displays = client.run("%flood 60000").await.contents("display_data");
    assert_eq!(displays.len(), 60_000);
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
    drop(stalled);
}

#[tokio::test]
async fn garbage_on_the_publishing_socket_is_survived() {
    let kernel = Kernel::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 200], b""] {
        let mut stream = TcpStream::connect(("127.0.0.1", kernel.info.iopub_port))
            .await
            .unwrap();
        stream.write_all(bytes).await.unwrap();
    }
    let mut client = kernel.client().await;
    assert_eq!(client.run("%print on").await.text("stdout"), "on\n");
}
