use code_deploy_jupyter::Error;
use code_deploy_jupyter::kernelspec::{
    Environment, InstallTo, KernelspecConfig, install, list, uninstall,
};
use serde_json::Value;
use tempfile::TempDir;

fn config(display_name: &str) -> KernelspecConfig {
    KernelspecConfig {
        name: "echo".into(),
        display_name: display_name.into(),
        argv: vec!["/opt/echo".into(), "{connection_file}".into()],
        language: "rust".into(),
    }
}

fn environment(variables: &[(&str, &std::path::Path)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[tokio::test]
async fn a_kernelspec_is_written_with_logos_and_message_interrupts() {
    let home = TempDir::new().unwrap();
    let environment = environment(&[("HOME", home.path())]);
    let folder = install(&config("Echo"), &InstallTo::User, &environment)
        .await
        .unwrap();
    assert_eq!(
        folder,
        home.path().join(".local/share/jupyter/kernels/echo")
    );
    let spec: Value =
        serde_json::from_slice(&std::fs::read(folder.join("kernel.json")).unwrap()).unwrap();
    assert_eq!(spec["interrupt_mode"], "message");
    assert_eq!(spec["metadata"]["debugger"], false);
    assert_eq!(spec["kernel_protocol_version"], "5.5");
    for logo in ["logo-32x32.png", "logo-64x64.png", "logo-svg.svg"] {
        assert!(folder.join(logo).is_file(), "{logo}");
    }
}

#[tokio::test]
async fn jupyters_variables_decide_where_a_kernelspec_goes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let places = [
        (
            InstallTo::User,
            vec![("JUPYTER_DATA_DIR", path)],
            "kernels/echo",
        ),
        (
            InstallTo::User,
            vec![("XDG_DATA_HOME", path)],
            "jupyter/kernels/echo",
        ),
        (
            InstallTo::SysPrefix,
            vec![("VIRTUAL_ENV", path)],
            "share/jupyter/kernels/echo",
        ),
        (
            InstallTo::SysPrefix,
            vec![("CONDA_PREFIX", path)],
            "share/jupyter/kernels/echo",
        ),
        (
            InstallTo::Prefix(path.into()),
            vec![],
            "share/jupyter/kernels/echo",
        ),
    ];
    for (to, variables, expected) in places {
        let installed = install(&config("Echo"), &to, &environment(&variables))
            .await
            .unwrap();
        assert_eq!(installed, path.join(expected));
    }
}

#[tokio::test]
async fn installing_again_replaces_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let environment = environment(&[("JUPYTER_DATA_DIR", folder.path())]);
    for name in ["Old", "New"] {
        install(&config(name), &InstallTo::User, &environment)
            .await
            .unwrap();
    }
    let found = list(&environment);
    let ours: Vec<_> = found.iter().filter(|spec| spec.name == "echo").collect();
    assert_eq!(ours[0].display_name, "New");
    let entries = std::fs::read_dir(folder.path().join("kernels"))
        .unwrap()
        .count();
    assert_eq!(entries, 1);
}

#[tokio::test]
async fn uninstalling_removes_it_once_and_then_says_that_it_is_not_there() {
    let folder = TempDir::new().unwrap();
    let environment = environment(&[("JUPYTER_DATA_DIR", folder.path())]);
    let installed = install(&config("Echo"), &InstallTo::User, &environment)
        .await
        .unwrap();
    let removed = uninstall("echo", &InstallTo::User, &environment)
        .await
        .unwrap();
    assert_eq!(installed, removed);
    assert!(!removed.exists());
    let again = uninstall("echo", &InstallTo::User, &environment).await;
    assert!(matches!(again, Err(Error::KernelspecMissing { .. })));
}

#[tokio::test]
async fn a_name_that_leaves_the_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let environment = environment(&[("JUPYTER_DATA_DIR", folder.path())]);
    for name in ["", "../x", "a/b", ".hidden", "a b"] {
        let config = KernelspecConfig {
            name: name.into(),
            ..config("Echo")
        };
        let refused = install(&config, &InstallTo::User, &environment).await;
        assert!(
            matches!(refused, Err(Error::KernelspecName { .. })),
            "{name}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
