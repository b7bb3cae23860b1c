//! The run that was recorded for the notebooks of this repository, as kernels find it.

use std::path::Path;

use serde_json::Value;

/// Lays that run out in a folder as one that is not ended and that nobody works on.
///
/// # Errors
/// When the record cannot be read, or the folder cannot be written.
pub fn open_run(folder: &Path) -> std::io::Result<()> {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../notebooks/record");
    let journal = std::fs::read_to_string(recorded.join("journal.jsonl"))?;
    let started: Value = serde_json::from_str(journal.lines().next().unwrap_or_default())?;
    let name = started["run"].as_str().unwrap_or_default();
    let run = folder.join(".code-deploy/runs").join(name);
    std::fs::create_dir_all(&run)?;
    std::fs::write(folder.join("deploy.yaml"), "")?;
    let lines = journal.split_inclusive('\n');
    let open: String = lines
        .take_while(|line| !line.contains("\"kind\":\"run_finished\""))
        .collect();
    std::fs::write(run.join("journal.jsonl"), open)
}
