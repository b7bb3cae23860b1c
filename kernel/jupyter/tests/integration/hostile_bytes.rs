//! A sample of what `tests/fuzz` does for minutes, and what it has found.

use code_deploy_fuzz::{Plan, run};
use code_deploy_wire::{Interrupts, Kernel, Kind, Socket, Spec, greeting, ready};
use serde_json::json;

use crate::kit::echo_kernel;

const MIB: u64 = 1024 * 1024;

fn spec() -> Spec {
    Spec::program("echo", &echo_kernel(), &[], Interrupts::Message)
}

#[test]
fn a_sample_of_hostile_bytes_is_survived() {
    let plan = Plan {
        seed: 5,
        from: 0,
        cases: 400,
        time: None,
        memory: 256 * MIB,
    };
    let outcome = run(&spec(), &plan, |_, _| {}).unwrap();
    assert!(outcome.fault.is_none(), "{}", outcome.fault.unwrap());
    assert_eq!(outcome.cases, 400);
}

#[test]
fn a_frame_that_claims_a_length_that_nobody_has_ends_its_connection_only() {
    let mut kernel = Kernel::start(&spec()).unwrap();
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

#[test]
fn a_client_that_reads_no_replies_delays_nobody_else() {
    let mut kernel = Kernel::start(&spec()).unwrap();
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
