//! Python's nbformat reads what was written. It is part of the test stage: where the stage is
//! promised (`CODE_DEPLOY_STAGE_PYTHON` names an interpreter that has nbformat), a missing part
//! fails; without that promise there is nothing to test here, and the structure tests in `pages`
//! stand alone.

use std::process::Command;

use code_deploy_notebook_gen::{ReadySettings, executed, ready, write};

use code_deploy_synthetic::{self as synthetic, Story};

const CHECK: &str = "
import sys, pathlib, nbformat
count = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob('**/*.ipynb')):
    text = path.read_text(encoding='utf-8')
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook, relax_add_props=False)
    assert nbformat.writes(notebook) + '\\n' == text, f'{path}: not as nbformat writes it'
    count += 1
print(count)
";

#[test]
fn pythons_nbformat_finds_every_notebook_valid_and_writes_it_byte_for_byte() {
    let Some(python) = std::env::var_os("CODE_DEPLOY_STAGE_PYTHON") else {
        return;
    };
    let project = crate::folder();
    let out = crate::folder();
    for (name, story) in [
        ("run-1", Story::Succeeded),
        ("run-2", Story::RolledBack),
        ("run-3", Story::Refused),
        ("run-4", Story::Initial),
    ] {
        let run = synthetic::run(project.path(), name, story);
        write(&executed(&run, &[]).unwrap(), &out.path().join(name)).unwrap();
    }
    let settings = ReadySettings {
        application: "shop".to_owned(),
        environment: "dev".to_owned(),
        target: "local".to_owned(),
        release: Some("1.1.0".to_owned()),
        services: vec!["catalog".to_owned()],
    };
    write(&ready(&settings).unwrap(), &out.path().join("ready")).unwrap();
    let output = Command::new(python)
        .arg("-c")
        .arg(CHECK)
        .arg(out.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "90");
}

/// The template `classic` takes an output's alternative over; `lab`, which is nbconvert's own choice,
/// has no place for one as of 7.17. The caption under each picture says the same in either.
const CONVERT: &str = "
import sys, pathlib
from nbconvert import HTMLExporter
from bs4 import BeautifulSoup
images = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.ipynb')):
    page, _ = HTMLExporter(template_name='classic').from_filename(str(path))
    for image in BeautifulSoup(page, 'html.parser').select('img'):
        assert len(image['alt']) > 60, f'{path}: {image[\"alt\"]}'
        images += 1
print(images)
";

#[test]
fn every_picture_has_its_text_alternative_where_nbconvert_takes_it_over() {
    let Some(python) = std::env::var_os("CODE_DEPLOY_STAGE_PYTHON") else {
        return;
    };
    let project = crate::folder();
    let out = crate::folder();
    let run = synthetic::run(project.path(), "run-1", Story::Succeeded);
    write(&executed(&run, &[]).unwrap(), out.path()).unwrap();
    let output = Command::new(python)
        .arg("-c")
        .arg(CONVERT)
        .arg(out.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let images: u32 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    assert!(images >= 20, "{images}");
}
