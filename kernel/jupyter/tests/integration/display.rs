use crate::kit::Kernel;

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
async fn a_live_display_ends_with_its_last_state_and_leaves_out_what_comes_too_fast() {
    let kernel = Kernel::start().await;
    let mut client = kernel.client().await;
    let ran = client.run("%live 100000").await;
    assert_eq!(ran.contents("display_data").len(), 1);
    let updates = ran.contents("update_display_data");
    assert_eq!(updates.last().unwrap()["data"]["text/plain"], "100000");
    assert!(updates.len() < 100, "{} updates", updates.len());
    let id = &ran.contents("display_data")[0]["transient"]["display_id"];
    assert!(
        updates
            .iter()
            .all(|update| update["transient"]["display_id"] == *id)
    );
}
