//! A sample of the rounds that `cargo run --release -p code-deploy-kills` does a hundred of.

use code_deploy_kills::{Ending, Plan, Victim, run};

use crate::stage::Part;

/// The seed of the sample. Another one shows other instants of the same.
const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_the_run_comes_to_rest_and_only_requests_in_flight_are_cut() {
    let plan = Plan {
        seed: SEED,
        from: 0,
        rounds: 4,
        victims: vec![
            Victim::RouterAndRunner,
            Victim::Router,
            Victim::RunnerAtWrite,
            Victim::Service,
        ],
    };
    let rounds = run(&Part::CodeDeploy.path(), &plan, |_| {}).await.unwrap();
    assert_eq!(rounds.len(), 4);
    for round in &rounds {
        let verdict = &round.verdict;
        assert_eq!(verdict.wrong, Vec::<String>::new(), "{round:#?}");
        let at_rest = [Ending::New, Ending::Old, Ending::NotBegun];
        assert!(at_rest.map(Some).contains(&verdict.ending), "{round:#?}");
        assert!(round.answered > 100, "{round:#?}");
        assert!(!round.killed.is_empty(), "{round:#?}");
    }
    let back = rounds.iter().filter(|round| round.router_back.is_some());
    assert_eq!(back.count(), 2, "{rounds:#?}");
}
