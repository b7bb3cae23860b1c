//! The program `shop`: one service of the demonstration shop per process.

use std::process::ExitCode;

fn main() -> ExitCode {
    code_deploy_shop::main_with_args(std::env::args().skip(1))
}
