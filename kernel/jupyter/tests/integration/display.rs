use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{Client, Kernel};

#[tokio::test]
async fn a_display_is_replaced_by_its_id() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let ran = client.run("%update").await;
    assert_eq!(
        ran.kinds(),
        [
            "status",
            "execute_input",
            "display_data",
            "update_display_data",
            "status"
        ]
    );
    let update = &ran.contents("update_display_data")[0];
    assert_eq!(update["transient"]["display_id"], "kc");
    assert_eq!(update["data"]["text/plain"], "b");
}

#[tokio::test]
async fn a_live_display_ends_with_its_last_state_and_moves_at_most_four_times_a_second() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let mut steps = 100_000;
    // However fast the machine is, the last of these takes long enough to show a faster pace.
    while moves_for(&mut client, steps).await < Duration::from_secs(1) {
        steps *= 4;
    }
}

/// Moves a display so many times and returns how long that took.
async fn moves_for(client: &mut Client, steps: u64) -> Duration {
    let began = Instant::now();
    let ran = client.run(&format!("%live {steps}")).await;
    let took = began.elapsed();
    let first = ran.contents("display_data");
    let updates = ran.contents("update_display_data");
    assert_eq!(first.len(), 1);
    // One at the beginning and one at the end come besides those of the time between.
    let most = took.as_millis() / 250 + 2;
    let count = u128::try_from(updates.len()).unwrap();
    assert!(count <= most, "{count} updates in {took:?}");
    let last = updates.last().unwrap();
    assert_eq!(last["data"]["text/plain"], steps.to_string());
    let id = &first[0]["transient"]["display_id"];
    let mut ids = updates
        .iter()
        .map(|update| &update["transient"]["display_id"]);
    assert!(ids.all(|other| other == id));
    took
}

#[tokio::test]
async fn what_a_cell_has_shown_can_be_cleared_at_once() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let cleared = client.run("%clear").await.contents("clear_output");
    assert_eq!(cleared, [json!({"wait": false})]);
}
