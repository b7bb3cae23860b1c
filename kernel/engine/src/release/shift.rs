//! Moving traffic of all services at once, and reading it back where it is served.

use std::collections::BTreeMap;
use std::time::Duration;

use code_deploy_record::{EventBody, Release};

use crate::Context;
use crate::step::StepError;
use crate::surroundings::Sabotage;
use crate::target::{Lease, Shares};

/// How long traffic stays split when the engine does not renew its lease. Long enough for a busy
/// machine, short enough that a dead engine does not leave users on an unwatched release.
pub const LEASE: Duration = Duration::from_secs(15);

/// Returns the shares that give the new release that many percent; shares of zero are left out.
pub(super) fn shares(context: &Context, percent: u16) -> BTreeMap<String, Shares> {
    let mut each = Shares::new();
    if percent > 0 {
        each.insert(context.to.clone(), percent);
    }
    if let Some(from) = context.from.as_ref().filter(|_| percent < 100) {
        each.insert(from.clone(), 100 - percent);
    }
    let services = context.spec.services.iter();
    services
        .map(|service| (service.name.clone(), each.clone()))
        .collect()
}

/// Gives the new release that many percent of the traffic of all services, and returns when that
/// is read back. While traffic moves or is split, the lease is held: when this program dies, all
/// traffic goes to the stable release, also of services that had moved when others had not.
pub(super) async fn to(context: &Context, percent: u16, reason: &str) -> Result<(), StepError> {
    let wanted = shares(context, percent);
    if served(context).await? != wanted || (percent > 0 && percent < 100) {
        hold(context).await?;
    }
    if served(context).await? != wanted {
        context.target.set_traffic(&wanted).await?;
    }
    let read_back = served(context).await?;
    refuse_other(&wanted, &read_back)?;
    let stable = match (&context.from, percent) {
        (Some(from), 0..100) => from.clone(),
        _ => context.to.clone(),
    };
    note(context, &read_back, &stable, reason).await?;
    if percent == 0 || percent == 100 {
        context.target.renew_lease(None).await?;
    }
    Ok(())
}

/// Waits until nobody is led as before the last move any more, where the target cannot tell when that is.
pub(super) async fn settled(context: &Context) {
    let left = context.target.unsettled();
    if !left.is_zero() {
        tokio::time::sleep(left).await;
    }
}

/// Gives one service's traffic to a release, whole, and returns when that is read back and nobody is led elsewhere
/// any more: services that are started next may ask it. No lease is needed: no service is split.
pub(super) async fn one(
    context: &Context,
    service: &str,
    release: &Release,
    reason: &str,
) -> Result<(), StepError> {
    let all = Shares::from([(release.clone(), 100)]);
    let wanted = BTreeMap::from([(service.to_owned(), all)]);
    context.target.set_traffic(&wanted).await?;
    settled(context).await;
    let mut read_back = served(context).await?;
    read_back.retain(|name, _| name == service);
    refuse_other(&wanted, &read_back)?;
    note(context, &read_back, release, reason).await
}

fn refuse_other(
    wanted: &BTreeMap<String, Shares>,
    read_back: &BTreeMap<String, Shares>,
) -> Result<(), StepError> {
    if read_back == wanted {
        return Ok(());
    }
    let what = format!(
        "traffic is served as {} after it was set to {}",
        text(read_back),
        text(wanted)
    );
    let next = "Look at the router's or the platform's state.";
    Err(StepError::transient("CD0460", what, next))
}

/// Holds the lease under which traffic may be split.
pub(super) async fn hold(context: &Context) -> Result<(), StepError> {
    if context.surroundings.sabotaged(Sabotage::HoldsNoLease) {
        return Ok(());
    }
    if let Some(stable) = context.from.clone() {
        context
            .target
            .renew_lease(Some(Lease { ttl: LEASE, stable }))
            .await?;
    }
    Ok(())
}

/// Reads the shares of the application's services where they are served, without those of zero.
pub(super) async fn served(context: &Context) -> Result<BTreeMap<String, Shares>, StepError> {
    let mut traffic = context.target.traffic().await?;
    traffic.retain(|service, shares| {
        shares.retain(|_, share| *share > 0);
        context.spec.service(service).is_some()
    });
    Ok(traffic)
}

pub(super) async fn note(
    context: &Context,
    served: &BTreeMap<String, Shares>,
    stable: &Release,
    reason: &str,
) -> Result<(), StepError> {
    for (service, served) in served {
        let body = EventBody::TrafficShifted {
            service: service.clone(),
            served: served.clone(),
            stable: stable.clone(),
            reason: reason.to_owned(),
        };
        context.journal.append("router", body).await?;
    }
    Ok(())
}

/// Returns shares in words: `catalog 1.0.0 95 % 1.1.0 5 %`.
pub(super) fn text(traffic: &BTreeMap<String, Shares>) -> String {
    let each = traffic.iter().map(|(service, shares)| {
        let shares = shares
            .iter()
            .map(|(release, share)| format!("{release} {share} %"));
        let shares: Vec<_> = shares.collect();
        let shares = if shares.is_empty() {
            "nothing".to_owned()
        } else {
            shares.join(", ")
        };
        format!("{service}: {shares}")
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() {
        "nothing".to_owned()
    } else {
        each.join("; ")
    }
}
