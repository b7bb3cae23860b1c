//! Where the environment's policy stops a run: at the end of a phase, and before the run would succeed.

use code_deploy_record::Trigger;

use super::{Ended, Runner};
use crate::policy::{self, Stops};
use crate::{Result, settle};

impl Runner {
    /// Ends what the policy stops: the run goes back where the policy says so and traffic had moved; otherwise it stays as it
    /// is for the person who runs it.
    pub(super) async fn stopped_by_policy(
        &mut self,
        stops: &Stops,
        what: String,
        next: String,
    ) -> Result<Ended> {
        let goes_back = !stops.failed.is_empty()
            && policy::goes_back_on_failed_item(&self.context.spec.policy)
            && self.traffic_moved();
        if goes_back {
            return self.go_back(Trigger::Failure, &what).await;
        }
        let code = crate::code::STOPPED_BY_POLICY;
        Ok(Ended::Failed(self.problem(code, what, next)))
    }

    /// Returns how a run ends that cannot succeed, because an item does not hold that its policy stops at and that nobody
    /// waives: also one that no phase has stopped at, because the end of the run found it. Nothing where there is none, and
    /// in a run that goes back, which stays with nothing for that.
    pub(super) async fn stopped_by_failed(&mut self) -> Result<Option<Ended>> {
        if self.context.goes_back() {
            return Ok(None);
        }
        settle::waive_failed(&self.context, self.catalog).await?;
        let stops = policy::unaccepted(&self.context.spec.policy, self.catalog, &self.state());
        if stops.is_empty() {
            return Ok(None);
        }
        let environment = &self.context.spec.environment;
        let what = format!(
            "the run cannot succeed by the policy of {environment}: {}",
            stops.reason()
        );
        let next = "Roll back by `code-deploy rollback`; what is accepted stands under `waivers` of the deployment file \
                    before a run begins.";
        let ended = self.stopped_by_policy(&stops, what, next.to_owned()).await;
        ended.map(Some)
    }
}
