//! What of a deployment a target cannot do, by the files alone.

use code_deploy_record::Severity;

use super::Runner;
use crate::spec::{Spec, database_limits};
use crate::{Error, Result, Target};

impl Runner {
    /// Refuses a deployment of which a target cannot do something, as its files tell: nothing is asked of the target.
    ///
    /// # Errors
    /// [`Error::Refused`] (`CD0402`) with everything that it cannot do.
    pub fn refuse_unfit(target: &dyn Target, spec: &Spec) -> Result<()> {
        let of_target = target.cannot_honour(spec).into_iter();
        let of_databases = database_limits(spec);
        let critical: Vec<_> = of_target
            .map(|limit| limit.finding)
            .chain(of_databases)
            .filter(|finding| finding.severity == Severity::Critical)
            .collect();
        if critical.is_empty() {
            return Ok(());
        }
        let texts: Vec<_> = critical
            .iter()
            .map(|f| format!("{}: {}", f.place, f.message))
            .collect();
        let what = format!(
            "a run on target {} cannot do this: {}",
            target.name(),
            texts.join("; ")
        );
        let mut cures: Vec<&str> = Vec::new();
        for finding in &critical {
            if !cures.contains(&finding.cure.as_str()) {
                cures.push(&finding.cure);
            }
        }
        Err(Error::refused("CD0402", what, cures.join(" ")))
    }
}
