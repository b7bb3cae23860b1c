use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::echo_kernel;

fn info() -> Value {
    json!({
        "ip": "127.0.0.1", "transport": "tcp", "key": "k", "signature_scheme": "hmac-sha256",
        "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5,
    })
}

/// Starts a kernel that must refuse, and returns what it says.
pub fn refusal(path: &Path) -> String {
    let output = Command::new(echo_kernel()).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn refusal_of(content: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("connection.json");
    std::fs::write(&path, content).unwrap();
    refusal(&path)
}

#[test]
fn a_missing_connection_file_is_named() {
    let said = refusal(Path::new("/nonexistent/connection.json"));
    assert!(
        said.contains("cannot read the connection file /nonexistent/connection.json"),
        "{said}"
    );
}

#[test]
fn a_connection_file_that_is_not_json_or_lacks_a_field_is_refused() {
    for content in [
        &b"{not json"[..],
        b"",
        b"\xff\xfe",
        br#"{"ip": "127.0.0.1"}"#,
    ] {
        let said = refusal_of(content);
        assert!(said.contains("does not say how to connect"), "{said}");
    }
}

#[test]
fn an_unknown_signature_scheme_is_named() {
    let mut info = info();
    info["signature_scheme"] = json!("hmac-md5");
    let said = refusal_of(info.to_string().as_bytes());
    assert!(
        said.contains("hmac-md5") && said.contains("hmac-sha256 only"),
        "{said}"
    );
}

#[test]
fn a_bad_key_is_refused_and_not_repeated() {
    let mut info = info();
    info["key"] = json!("secret\nkey");
    let said = refusal_of(info.to_string().as_bytes());
    assert!(
        said.contains("control characters") && !said.contains("secret"),
        "{said}"
    );
}

#[test]
fn a_huge_file_is_refused_unread() {
    let said = refusal_of(&vec![b' '; 1024 * 1024]);
    assert!(said.contains("the limit is 65536"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_channel() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut info = info();
    info["iopub_port"] = json!(port);
    let said = refusal_of(info.to_string().as_bytes());
    assert!(
        said.contains(&format!("tcp://127.0.0.1:{port}")) && said.contains("iopub"),
        "{said}"
    );
}
