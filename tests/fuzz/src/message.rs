//! Messages to begin with, before something is done to them.

use code_deploy_wire::{Channel, request, signature};
use serde_json::{Value, json};

use crate::random::Random;

const SIGNATURE: usize = 1;
const HEADER: usize = 2;
const CONTENT: usize = 5;

/// Requests that change nothing outside the kernel; never one that ends it.
const KINDS: [&str; 24] = [
    "kernel_info_request",
    "execute_request",
    "execute_request",
    "complete_request",
    "inspect_request",
    "is_complete_request",
    "history_request",
    "comm_open",
    "comm_msg",
    "comm_close",
    "comm_info_request",
    "usage_request",
    "debug_request",
    "interrupt_request",
    "create_subshell_request",
    "delete_subshell_request",
    "list_subshell_request",
    "input_reply",
    "connect_request",
    "nonsense",
    "",
    "status",
    "execute_reply",
    "stream",
];

/// A channel and the frames for it.
#[derive(Debug)]
pub struct Draft {
    pub channel: Channel,
    pub frames: Vec<Vec<u8>>,
}

/// Returns a message that is signed and well formed, though what it asks for may be nonsense.
pub fn draft(random: &mut Random, key: &str, case: u64) -> Draft {
    let channels = [
        &Channel::Shell,
        &Channel::Shell,
        &Channel::Control,
        &Channel::Stdin,
    ];
    let channel = *random.pick(&channels);
    let kind = random.pick(&KINDS);
    let content = content(random, kind);
    let id = format!("fuzz-{case}-{}", random.next());
    let mut frames = request(key, "fuzz", &id, kind, &content);
    if random.once_in(4) {
        let header = json!({
            "msg_id": odd(random, json!(id)), "msg_type": kind, "session": odd(random, json!("s")),
            "subshell_id": odd(random, json!(random_text(kind))), "date": odd(random, json!("now")),
            "version": "9.9", "username": odd(random, json!("u")),
        });
        frames[HEADER] = header.to_string().into_bytes();
        sign(key, &mut frames);
    }
    Draft { channel, frames }
}

/// Signs the frames as they are now.
pub fn sign(key: &str, frames: &mut [Vec<u8>]) {
    if let Some(parts) = frames.get(HEADER..=CONTENT) {
        frames[SIGNATURE] = signature(key, parts);
    }
}

fn random_text(kind: &str) -> Option<&str> {
    kind.ends_with("_reply").then_some(kind)
}

fn content(random: &mut Random, kind: &str) -> Value {
    if random.once_in(8) {
        return nonsense(random, 4);
    }
    let (code, position) = (code(random), random.below(64));
    match kind {
        "execute_request" => json!({
            "code": code, "silent": odd(random, json!(false)), "stop_on_error": true,
            "store_history": odd(random, json!(true)), "allow_stdin": false,
            "user_expressions": odd(random, json!({"a": "b"})),
        }),
        "complete_request" => json!({"code": code, "cursor_pos": odd(random, json!(position))}),
        "inspect_request" => json!({
            "code": code, "cursor_pos": odd(random, json!(position)),
            "detail_level": odd(random, json!(1)),
        }),
        "is_complete_request" => json!({"code": code}),
        "history_request" => json!({
            "hist_access_type": random.pick(&["range", "tail", "search", "none"]),
            "n": odd(random, json!(3)), "pattern": odd(random, json!("*%*")), "raw": true,
            "session": odd(random, json!(0)), "start": odd(random, json!(-1)), "output": true,
            "stop": odd(random, json!(9)), "unique": true,
        }),
        "comm_open" | "comm_msg" | "comm_close" => json!({
            "comm_id": odd(random, json!("c")), "target_name": odd(random, json!("t")),
            "data": nonsense(random, 3),
        }),
        "delete_subshell_request" => json!({"subshell_id": odd(random, json!("none"))}),
        "input_reply" => json!({"value": odd(random, json!("yes")), "status": "ok"}),
        _ => odd(random, json!({})),
    }
}

/// Returns a cell that is commands, comments or nothing: Rust would measure the compiler.
fn code(random: &mut Random) -> String {
    let words = [
        "%status",
        "%status?",
        "%nosuch",
        "%%status\n",
        "%record --",
        "%chart latency",
        "% ",
        "%?",
        "%%",
        "// nothing",
        "",
        "%status\n%status",
        "%record gates --run x",
    ];
    let mut code = random.pick(&words).to_owned();
    if random.once_in(3) && code.starts_with('%') {
        code.push_str(&random.text(40));
    }
    if random.once_in(60) {
        code = format!("%{}", "%a ".repeat(random.below(100_000)));
    }
    code
}

/// Mostly returns the value; else one of another type.
fn odd(random: &mut Random, value: Value) -> Value {
    if random.once_in(5) {
        nonsense(random, 2)
    } else {
        value
    }
}

fn nonsense(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 7 } else { 9 }) {
        0 => Value::Null,
        1 => json!(random.once_in(2)),
        2 => json!(random.next()),
        3 => json!(i64::MIN),
        4 => json!(f64::MAX),
        5 => json!(""),
        6 => json!(random.text(30)),
        7 => (0..random.below(5))
            .map(|_| nonsense(random, depth - 1))
            .collect(),
        _ => {
            let pairs = (0..random.below(5)).map(|_| {
                let name = random.text(6);
                (name, nonsense(random, depth - 1))
            });
            Value::Object(pairs.collect())
        }
    }
}
