//! What others have on the engine.

use code_deploy_engine::target::Target as _;

use super::engine::{GRACE, Stage, docker, inspect};
use crate::stage::{text, wanted};

#[tokio::test]
async fn a_name_that_a_foreign_container_has_is_refused_and_the_container_stays() {
    let stage = Stage::new().await;
    let target = stage.opened().await;
    let name = stage.container("api", "1.0.0", 2);
    let image = format!("{}:1", stage.application);
    let foreign = docker(&[
        "create",
        "--name",
        &name,
        &image,
        "/bin/code-deploy",
        "idle",
    ]);
    let refused = target.start(&wanted("api", "1.0.0", 2)).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    assert!(
        refused.what.contains("was not made for"),
        "{}",
        text(&refused)
    );
    assert_eq!(inspect(&name, "{{.Id}}"), foreign);
    assert!(target.observe().await.unwrap().instances.is_empty());
    target.remove_all(GRACE).await.unwrap();
    assert_eq!(inspect(&name, "{{.Id}}"), foreign);
    docker(&["rm", &name]);
}

#[tokio::test]
async fn another_project_with_the_same_names_is_left_alone() {
    let (stage, mut other) = (Stage::new().await, Stage::new().await);
    let target = stage.opened().await;
    target.start(&wanted("api", "1.0.0", 1)).await.unwrap();
    let own = stage.containers();
    // The same application and environment, in another folder.
    let file = other.folder.path().join("deploy.yaml");
    let said = std::fs::read_to_string(&file).unwrap();
    let said = said.replace(&other.application, &stage.application);
    std::fs::write(&file, said).unwrap();
    docker(&["rmi", &format!("{}:1", other.application)]);
    docker(&[
        "tag",
        &format!("{}:1", stage.application),
        &format!("{}:1", other.application),
    ]);
    let its = other.target();
    let refused = its.open(&other.services()).await.unwrap_err();
    assert_eq!(refused.code, "CD0526", "{}", text(&refused));
    assert!(its.observe().await.unwrap().instances.is_empty());
    its.remove_all(GRACE).await.unwrap();
    assert_eq!(stage.containers(), own);
    other.application.push_str("");
}
