//! Which shares of traffic can be given, and by what.

use code_deploy_engine::Spec;
use code_deploy_engine::release::instances_at;
use code_deploy_engine::spec::{GatewayFile, Service, StrategyKind};
use code_deploy_record::{Finding, Severity};

/// Returns what is to be known of how traffic moves: one finding each.
pub fn findings(spec: &Spec) -> Vec<Finding> {
    let file = spec.path.file_name().unwrap_or_default().to_string_lossy();
    let place = format!("{file} environments.{}", spec.environment);
    let mut findings = vec![Finding {
        rule: "kubernetes/no-lease".to_owned(),
        severity: Severity::Low,
        place: place.clone(),
        message: "no process of this program stands in a cluster, so nothing there moves traffic \
                  back by itself: a run that is killed while traffic is split, or between the \
                  switches of two services, leaves it so until it is resumed or rolled back"
            .to_owned(),
        cure: "After a killed run: `code-deploy resume` or `code-deploy rollback`.".to_owned(),
    }];
    match spec.strategy.kind {
        StrategyKind::BlueGreen => {}
        StrategyKind::Canary => findings.extend(of_shares(spec, &place)),
        StrategyKind::Rolling => {
            findings.push(of_waves(&place));
            findings.extend(of_shares(spec, &place));
        }
    }
    findings.extend(of_routes(spec, &place));
    findings
}

/// A rolling update is not the cluster's own.
fn of_waves(place: &str) -> Finding {
    Finding {
        rule: "kubernetes/waves".to_owned(),
        severity: Severity::Info,
        place: place.to_owned(),
        message: "a rolling update goes in waves of this program: each release has a Deployment of its own, pods of the new \
                  one start beside those of the one before, and as many of these are evicted; a Deployment's own \
                  `strategy.rollingUpdate` takes no part in it"
            .to_owned(),
        cure: "Nothing, if that is meant.".to_owned(),
    }
}

/// Returns the Gateway through which users come, if the deployment file names one.
fn gateway(spec: &Spec) -> Option<&GatewayFile> {
    let environment = spec.file.environments.get(&spec.environment)?;
    environment.kubernetes.gateway.as_ref()
}

/// Returns whether users reach a service through a Gateway that the deployment file names.
pub fn is_routed(spec: &Spec, service: &str) -> bool {
    gateway(spec).is_some_and(|gateway| gateway.routes.contains_key(service))
}

/// Which shares are exact, and what becomes of those who come past the Gateway.
fn of_routes<'a>(spec: &'a Spec, place: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let gateway = gateway(spec).map_or("", |gateway| &gateway.name);
    let routed = spec.services.iter();
    let routed = routed.filter(|service| is_routed(spec, &service.name));
    routed.map(move |service| {
        let name = &service.name;
        let how = match spec.strategy.kind {
            StrategyKind::Canary => format!(
                "splits its requests by weight, so that shares are exact; {}",
                beside(spec, service)
            ),
            StrategyKind::BlueGreen | StrategyKind::Rolling => {
                "leads to its Service: this strategy does not split requests by weight".to_owned()
            }
        };
        Finding {
            rule: "kubernetes/route".to_owned(),
            severity: Severity::Info,
            place: place.to_owned(),
            message: format!(
                "users reach `{name}` through the Gateway `{gateway}`: its HTTPRoute {how}"
            ),
            cure: "Nothing, if that is meant.".to_owned(),
        }
    })
}

/// Returns in words whom those are led to who ask a service by its name inside of the cluster.
fn beside(spec: &Spec, service: &Service) -> String {
    let steps = spec.strategy.steps.iter().map(|step| step.percent);
    let split = steps.filter(|percent| (1..100).contains(percent));
    let (able, unable): (Vec<u16>, Vec<u16>) =
        split.partition(|percent| gives(StrategyKind::Canary, *percent, service.replicas));
    let list = |shares: &[u16]| -> String {
        let shares: Vec<String> = shares.iter().map(u16::to_string).collect();
        shares.join(", ")
    };
    let whole = format!(
        "to the release with the larger share at {} %",
        list(&unable)
    );
    let split = format!("to so many pods of each at {} %", list(&able));
    let led = match (able.is_empty(), unable.is_empty()) {
        (false, true) => split,
        (true, _) => whole,
        (false, false) => format!("{split}, and {whole}"),
    };
    format!("inside of the cluster its Service leads {led}")
}

/// Shares that the replicas cannot give: a cluster splits traffic by the number of pods.
fn of_shares<'a>(spec: &'a Spec, place: &'a str) -> impl Iterator<Item = Finding> + 'a {
    let kind = spec.strategy.kind;
    let steps = spec.strategy.steps.iter().map(|step| step.percent);
    let split = steps.filter(|percent| (1..100).contains(percent));
    split.flat_map(move |percent| {
        let weighted =
            move |one: &Service| kind == StrategyKind::Canary && is_routed(spec, &one.name);
        let services = spec.services.iter().filter(move |one| !weighted(one));
        let unable = services.filter(move |one| !gives(kind, percent, one.replicas));
        unable.map(move |service| Finding {
            rule: "kubernetes/share".to_owned(),
            severity: Severity::Critical,
            place: place.to_owned(),
            message: format!(
                "{percent} % of `{}` cannot be given: a cluster splits traffic by the number of \
                 pods, and with {} of {} it can give {} %",
                service.name,
                service.replicas,
                among(kind),
                possible(kind, service.replicas)
            ),
            cure: format!(
                "Write one of these shares in `steps`, or more `replicas` ({} of them give {percent} %); \
                 or, where users reach it, name a Gateway that splits requests (`kubernetes.gateway`).",
                enough(kind, percent)
            ),
        })
    })
}

/// Returns whether a step can give a share with so many replicas. A rolling update takes away as
/// many pods of one release as it starts of the other, and all that are wanted are to serve.
fn gives(kind: StrategyKind, percent: u16, replicas: u32) -> bool {
    let (new, old) = match kind {
        StrategyKind::Rolling => instances_at(replicas, percent),
        _ => (replicas, replicas),
    };
    let serving =
        crate::kubernetes::traffic::by_pods(percent, new, old).map(|(one, other)| one + other);
    match kind {
        StrategyKind::Rolling => serving.is_some_and(|serving| serving >= replicas),
        _ => serving.is_some(),
    }
}

/// Returns among which pods traffic is split, in words.
fn among(kind: StrategyKind) -> &'static str {
    match kind {
        StrategyKind::Rolling => "both releases together",
        _ => "each release",
    }
}

/// Returns the shares that so many replicas can give, in words: `33, 50, 67`.
fn possible(kind: StrategyKind, replicas: u32) -> String {
    let able = (1..100).filter(|share| gives(kind, *share, replicas));
    let able: Vec<String> = able.map(|share| share.to_string()).collect();
    able.join(", ")
}

/// Returns how many replicas are needed at least for a share. A hundred give each.
fn enough(kind: StrategyKind, percent: u16) -> u32 {
    let able = |replicas: &u32| gives(kind, percent, *replicas);
    (1..100).find(able).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn shares_of_what_a_gateway_leads_to_are_exact_and_all_others_are_given_by_pods() {
        let folder = tempfile::tempdir().unwrap();
        let web = "image: web:1\n    expose: ['80']";
        let compose = format!("services:\n  web:\n    {web}\n  api:\n    {web}\n");
        let file = "application: app\nstrategy: { steps: [{ percent: 5, soak: 1s }, { percent: 50, \
                    soak: 1s }, { percent: 100, soak: 0s }] }\nenvironments:\n  dev:\n    replicas: { web: 2, api: 2 }\n    \
                    kubernetes: { gateway: { name: public, routes: { web: { url: 'http://shop.example' \
                    } } } }\n";
        std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
        let path = folder.path().join("deploy.yaml");
        std::fs::write(&path, file).unwrap();
        let spec = Spec::load(&path, "dev", "k8s", &|_| None).unwrap();
        let found = findings(&spec);
        let of =
            |rule: &str| -> Vec<&Finding> { found.iter().filter(|one| one.rule == rule).collect() };
        let [refused] = of("kubernetes/share")[..] else {
            panic!("{found:?}");
        };
        assert!(
            refused.message.contains("5 % of `api`"),
            "{}",
            refused.message
        );
        let [told] = of("kubernetes/route")[..] else {
            panic!("{found:?}");
        };
        let words =
            "to so many pods of each at 50 %, and to the release with the larger share at 5 %";
        assert!(told.message.contains(words), "{}", told.message);
    }

    #[test]
    fn a_rolling_update_is_said_to_be_none_of_the_clusters_own() {
        let folder = tempfile::tempdir().unwrap();
        let compose = "services:\n  web:\n    image: web:1\n    expose: ['80']\n";
        std::fs::write(folder.path().join("compose.yaml"), compose).unwrap();
        let path = folder.path().join("deploy.yaml");
        let waves = |kind: &str| {
            let file = format!(
                "application: app\nstrategy: {{ kind: {kind} }}\nenvironments:\n  dev: {{}}\n"
            );
            std::fs::write(&path, file).unwrap();
            let spec = Spec::load(&path, "dev", "k8s", &|_| None).unwrap();
            let found = findings(&spec).into_iter();
            found.filter(|one| one.rule == "kubernetes/waves").count()
        };
        assert_eq!(waves("rolling"), 1);
        assert_eq!(waves("canary"), 0);
        assert_eq!(waves("blue-green"), 0);
    }

    #[test]
    fn a_wave_can_give_what_its_pods_are_of_all() {
        let all = [
            (1, "50"),
            (2, "50, 67"),
            (3, "33, 67, 75"),
            (4, "25, 50, 75, 80"),
        ];
        for (replicas, shares) in all {
            assert_eq!(possible(StrategyKind::Rolling, replicas), shares);
        }
        assert_eq!(possible(StrategyKind::Canary, 2), "33, 50, 67");
        assert_eq!(enough(StrategyKind::Rolling, 5), 17);
        for percent in 1..100 {
            assert!(gives(StrategyKind::Rolling, percent, 100), "{percent} %");
        }
    }

    #[test]
    fn a_wave_keeps_as_many_pods_serving_as_are_wanted_while_it_moves() {
        for replicas in 1..30 {
            let mut before = replicas;
            let shares = (1..100).filter(|share| gives(StrategyKind::Rolling, *share, replicas));
            for share in shares {
                let (new, old) = instances_at(replicas, share);
                let moved = crate::kubernetes::traffic::by_pods(share, new, before);
                let (of_new, of_old) = moved.unwrap_or_default();
                assert!(of_new + of_old >= replicas, "{share} % of {replicas}");
                before = old;
            }
        }
    }
}
