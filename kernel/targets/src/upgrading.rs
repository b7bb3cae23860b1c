//! What targets have in common when a router is of another build than the program.

use std::time::Duration;

use code_deploy_engine::target::TargetError;
use code_deploy_record::Severity;
use code_deploy_router::Error;

use crate::failure::{code, transient};
use crate::notices::Notices;
use crate::steering::Steering;

/// How long a router that another took over from may take to end once its time is over.
const PARTING: Duration = Duration::from_secs(10);

/// The pause between two looks whether it has.
const KNOCK: Duration = Duration::from_millis(50);

/// How much of a build's digest is shown.
const SHOWN: usize = 12;

/// A router whose build is not the program's.
pub(crate) struct Upgrade<'a> {
    /// The service, where the router is of one alone.
    pub service: Option<&'a str>,
    /// The build that it has.
    pub from: &'a str,
    /// The program's.
    pub to: &'a str,
}

impl Upgrade<'_> {
    /// Tells that the router runs the program's build now.
    pub fn tell_done(&self, notices: &Notices) {
        let text = format!(
            "the router was upgraded while it served: build {} took over from build {}; no connection was \
             refused",
            shown(self.to),
            shown(self.from)
        );
        notices.tell(self.service, Severity::Medium, text);
    }

    /// Tells that the router goes on with the build that it has.
    pub fn tell_failed(&self, notices: &Notices, reason: &str) {
        let text = format!(
            "the router was not upgraded: {reason}. It goes on serving with the build that it has, {}, and no \
             request was lost; the next run tries again",
            shown(self.from)
        );
        notices.tell(self.service, Severity::High, text);
    }
}

/// Tells that a router knows no way to be upgraded.
pub(crate) fn tell_made_before(notices: &Notices, service: Option<&str>) {
    let text = "the router was started by an earlier version of this program, which cannot hand over to another; \
                it stays as it is until `--stop`";
    notices.tell(service, Severity::Medium, text.to_owned());
}

fn shown(build: &str) -> &str {
    build.get(..SHOWN).unwrap_or(build)
}

impl Steering {
    /// Returns the build of the router; nothing when it was made before routers could tell.
    pub async fn build(&self) -> Result<Option<String>, TargetError> {
        match self.client().build().await {
            Ok(build) => Ok(build),
            // The file that it runs was taken away: whatever it was, it is not the program's.
            Err(Error::Refused { code, .. }) if code == "file" => Ok(Some("unknown".to_owned())),
            Err(error) => Err(self.refusal(None, &error)),
        }
    }

    /// Waits until the router from which this one took over has ended, if there is one, which may take `limit`:
    /// until then some requests go by the shares that it knows, so nothing may be changed.
    pub async fn settled(&self, limit: Duration) -> Result<(), TargetError> {
        let until = tokio::time::Instant::now() + limit + PARTING;
        loop {
            let Some(pid) = self.status().await?.predecessor else {
                return Ok(());
            };
            if tokio::time::Instant::now() >= until {
                let what = format!(
                    "the router that was replaced, process {pid}, has not ended within {:?}; nothing else was \
                     changed",
                    limit + PARTING
                );
                let next = "Run again: what it had under way goes on until then.";
                return Err(transient(code::ROUTER, None, what, next));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }
}
