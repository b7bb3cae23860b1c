//! A sample of what `tests/fuzz` does for minutes, and what it has found.

use code_deploy_fuzz::{Plan, run};
use code_deploy_wire::{Channel, Error, Kernel, Kind, Socket, greeting, ready};
use serde_json::{Value, json};

use crate::kit::{DEADLINE, wire_spec};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_sample_of_hostile_bytes_is_survived() {
    let plan = Plan {
        seed: 5,
        from: 0,
        cases: 400,
        time: None,
        memory: 256 * MIB,
    };
    let outcome = run(&wire_spec(), &plan, |_, _| {}).unwrap();
    assert!(outcome.fault.is_none(), "{}", outcome.fault.unwrap());
    assert_eq!(outcome.cases, 400);
}

#[test]
fn a_frame_that_claims_a_length_that_nobody_has_ends_its_connection_only() {
    let mut kernel = Kernel::start(&wire_spec()).unwrap();
    drop(kernel.answers().unwrap());
    for port in kernel.ports.all() {
        for kind in [&b"DEALER"[..], b"REQ", b"SUB"] {
            let mut socket = Socket::open(port).unwrap();
            socket.write(&greeting()).unwrap();
            socket.write(&ready(kind, b"")).unwrap();
            let mut frame = vec![2];
            frame.extend_from_slice(&(1_u64 << 60).to_be_bytes());
            // A kernel that has closed already refuses this, and may.
            let _ = socket.write(&frame);
        }
    }
    let mut client = kernel.client().unwrap();
    assert_eq!(client.run("%print on").unwrap().text, "on\n");
    assert!(kernel.memory() < 64 * MIB);
}

/// A silent cell that does nothing, with so much white space behind it.
fn spacious(mib: usize) -> Value {
    let code = format!("%noop{}", " ".repeat(mib * 1024 * 1024));
    json!({
        "code": code, "silent": true, "store_history": false, "user_expressions": {},
        "allow_stdin": false, "stop_on_error": true,
    })
}

#[test]
fn a_message_above_the_limit_ends_its_connection_only_and_one_below_is_taken() {
    let mut kernel = Kernel::start(&wire_spec()).unwrap();
    let mut client = kernel.client().unwrap();
    let request = "execute_request";
    let frames = code_deploy_wire::request(&kernel.key, "s", "large", request, &spacious(33));
    let mut large = Socket::connect(kernel.ports.shell, Kind::Dealer, b"large").unwrap();
    // A kernel that has closed already refuses the rest of it, and may.
    let _ = large.send(&frames);
    let said = large.receive(DEADLINE);
    assert!(matches!(said, Err(Error::Socket { .. })), "{said:?}");

    let below = client.send(Channel::Shell, request, &spacious(31)).unwrap();
    assert_eq!(client.ran(&below).unwrap().reply["status"], "ok");
    assert_eq!(client.run("%print on").unwrap().text, "on\n");
}

#[test]
fn a_client_that_reads_no_replies_delays_nobody_else() {
    let mut kernel = Kernel::start(&wire_spec()).unwrap();
    let mut client = kernel.client().unwrap();
    let mut silent = Socket::connect(kernel.ports.control, Kind::Dealer, b"silent").unwrap();
    for number in 0..200 {
        let id = format!("silent-{number}");
        let kind = "kernel_info_request";
        let frames = code_deploy_wire::request(&kernel.key, "s", &id, kind, &json!({}));
        silent.send(&frames).unwrap();
    }
    assert_eq!(
        client.control("kernel_info_request", &json!({})).unwrap()["status"],
        "ok"
    );
    assert_eq!(client.run("%print on").unwrap().text, "on\n");
}
