//! The kernel of the built program over a long life, and under attack.

use code_deploy_benches::life::live;
use code_deploy_fuzz::{Plan, run};
use code_deploy_wire::{Interrupts, Spec};

use crate::stage::Part;

#[test]
fn five_thousand_cells_of_mixed_kinds_cost_no_more_memory_than_five_hundred() {
    // No Rust here: what its compiler keeps is another process's.
    let life = live(&Part::CodeDeploy.path(), 5_000, 0).unwrap();
    assert_eq!(life.cells, 5_000);
    assert!(life.is_steady(), "{life}");
    assert_eq!(life.outcomes.values().sum::<usize>(), 5_000);
    let both = ["ok", "error"].map(|end| life.outcomes.keys().any(|kind| kind.contains(end)));
    assert_eq!(both, [true, true], "{life}");
}

#[test]
fn hostile_bytes_on_its_ports_do_not_end_the_kernel() {
    let program = Part::CodeDeploy.path();
    let words = ["kernel", "launch"];
    let spec = Spec::program("code-deploy", &program, &words, Interrupts::Message);
    let memory = 256 * 1024 * 1024;
    let plan = Plan {
        seed: 11,
        from: 0,
        cases: 300,
        time: None,
        memory,
    };
    let outcome = run(&spec, &plan, |_, _| {}).unwrap();
    assert!(outcome.fault.is_none(), "{}", outcome.fault.unwrap());
}
