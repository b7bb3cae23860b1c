use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::kit::{App, LIMIT, Router, eventually};

async fn one_service(app: &App) -> (Router, std::net::SocketAddr) {
    let router = Router::start().await;
    let address = router.service("web").await;
    router.release("web", "1.0.0", &[app]).await;
    router.weights("web", &[("1.0.0", 100)]).await.unwrap();
    (router, address)
}

#[tokio::test]
async fn each_frame_of_a_response_arrives_before_the_next_is_made() {
    let app = App::start("app").await;
    let (router, address) = one_service(&app).await;
    for path in ["/stream", "/events"] {
        let (frames, receiver) = mpsc::channel(1);
        *app.shared.frames.lock().unwrap() = Some(receiver);
        let request = Request::get(format!("http://{address}{path}"));
        let request = request.body(Full::default()).unwrap();
        let mut response = router.http.request(request).await.unwrap();
        for number in 0..5 {
            let frame = Bytes::from(format!("data: {number}\n\n"));
            frames.send(frame.clone()).await.unwrap();
            let arrived = tokio::time::timeout(LIMIT, response.body_mut().frame()).await;
            assert_eq!(
                arrived.unwrap().unwrap().unwrap().into_data().unwrap(),
                frame
            );
        }
        let status = router.status().await;
        assert_eq!(status.services["web"].releases[0].backends[0].in_flight, 1);
        drop(frames);
        assert!(response.body_mut().frame().await.is_none());
        let router = &router;
        eventually("it is not in flight any more", || async move {
            router.status().await.services["web"].releases[0].backends[0].in_flight == 0
        })
        .await;
    }
}

#[tokio::test]
async fn an_upload_is_passed_on_while_it_is_being_sent() {
    let app = App::start("app").await;
    let (_router, address) = one_service(&app).await;
    let (frames, receiver) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures::stream::unfold(receiver, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Frame::data(frame)),
            frames,
        ))
    }));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{address}/echo"))
        .body(body.boxed_unsync())
        .unwrap();
    let mut response = client.request(request).await.unwrap();
    for number in 0..5 {
        let frame = Bytes::from(format!("part {number}"));
        frames.send(frame.clone()).await.unwrap();
        let arrived = tokio::time::timeout(LIMIT, response.body_mut().frame()).await;
        assert_eq!(
            arrived.unwrap().unwrap().unwrap().into_data().unwrap(),
            frame
        );
    }
    drop(frames);
    assert!(response.body_mut().frame().await.is_none());
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let app = App::start("app").await;
    let (router, address) = one_service(&app).await;
    let text: String = (0..400_000).map(|number| format!("{number:07}")).collect();
    for method in [Method::POST, Method::PUT] {
        let answer = router.send(method, address, "/echo", &[], &text).await;
        assert_eq!(answer.text(), text);
    }
}

#[tokio::test]
async fn a_web_socket_passes_is_in_flight_and_gets_the_whole_drain_time() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let (router, address) = one_service(&old).await;
    router.release("web", "1.1.0", &[&new]).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    let removed = router.control.remove_release("web", "1.0.0", LIMIT);
    let talk = async {
        eventually("it drains", || async {
            router.status().await.services["web"].draining.len() == 1
        })
        .await;
        for number in 0..20 {
            let message = Message::text(format!("{number}"));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        drop(socket);
    };
    let (drained, ()) = futures::future::join(removed, talk).await;
    let drained = drained.unwrap();
    assert_eq!((drained.in_flight_at_start, drained.cut), (1, 0));
}

#[tokio::test]
async fn a_web_socket_that_goes_on_is_cut_at_the_drain_limit() {
    let (old, new) = (App::start("old").await, App::start("new").await);
    let (router, address) = one_service(&old).await;
    router.release("web", "1.1.0", &[&new]).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    router.weights("web", &[("1.1.0", 100)]).await.unwrap();
    let limit = Duration::from_millis(50);
    let drained = router
        .control
        .remove_release("web", "1.0.0", limit)
        .await
        .unwrap();
    assert_eq!(drained.cut, 1);
    let end = tokio::time::timeout(LIMIT, socket.next()).await.unwrap();
    assert!(!matches!(end, Some(Ok(_))));
}

#[tokio::test]
async fn a_tunnel_ends_when_its_backend_has_ended_though_the_client_stays() {
    let app = App::start("app").await;
    let (router, address) = one_service(&app).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws"))
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let router = &router;
    eventually("it is not in flight any more", || async move {
        router.status().await.services["web"].releases[0].backends[0].in_flight == 0
    })
    .await;
    drop(socket);
}

#[tokio::test]
async fn http_2_clients_are_answered_and_headers_are_as_a_proxy_must_write_them() {
    let app = App::start("app").await;
    let (router, address) = one_service(&app).await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::get(format!("http://{address}/headers"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
    let headers = [
        ("x-forwarded-for", "10.0.0.9"),
        ("connection", "x-private"),
        ("x-private", "1"),
    ];
    let answer = router
        .send(Method::GET, address, "/headers", &headers, "")
        .await;
    assert!(
        answer
            .text()
            .contains("x-forwarded-for: 10.0.0.9, 127.0.0.1\n")
    );
    assert!(
        answer
            .text()
            .contains(&format!("x-forwarded-host: {address}\n"))
    );
    assert!(answer.text().contains(&format!("host: {address}\n")));
    assert!(answer.text().contains("x-forwarded-proto: http\n"));
    assert!(!answer.text().contains("x-private"));
    assert!(!answer.headers.contains_key("x-hop"));
    assert!(!answer.headers.contains_key("x-code-deploy-served-by"));
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_and_its_connection_closed() {
    let app = App::start("app").await;
    let (_router, address) = one_service(&app).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /headers HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK") || answer.starts_with("HTTP/1.1 200 OK"));
    assert!(answer.contains("host: localhost"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_any_backend_sees_it() {
    let app = App::start("app").await;
    let (router, address) = one_service(&app).await;
    let long = "a".repeat(100_000);
    let answer = router
        .send(Method::GET, address, "/id", &[("x-long", &long)], "")
        .await;
    assert_eq!(answer.status, 431);
    assert_eq!(app.requests(), 0);
}
