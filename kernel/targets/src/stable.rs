//! Which release counts as stable.

use std::collections::BTreeMap;

use code_deploy_engine::target::{Instance, Shares};
use code_deploy_record::Release;

/// Returns the stable release: the one that has all traffic of every service and has an instance.
pub fn release(served: &BTreeMap<String, Shares>, instances: &[Instance]) -> Option<Release> {
    let mut releases = served.values().map(|shares| {
        let all = shares.iter().find(|(_, share)| **share == 100);
        all.map(|(release, _)| release)
    });
    let first = releases.next()??;
    let same = releases.all(|release| release == Some(first));
    let runs = instances
        .iter()
        .any(|instance| instance.release == *first && instance.running);
    (same && runs).then(|| first.clone())
}
