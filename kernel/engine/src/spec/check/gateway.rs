//! Gateways through which users reach services.

use std::collections::BTreeMap;

use super::super::error::code;
use super::super::model::{GatewayFile, RouteFile};
use super::{Check, Checked, shortened};

/// The longest name of a host (RFC 1035).
const LONGEST: usize = 253;

pub(super) fn check(check: &Check<'_>) -> Checked {
    for (name, environment) in &check.file.environments {
        if let Some(gateway) = &environment.kubernetes.gateway {
            routes(check, name, gateway)?;
        }
    }
    Ok(())
}

fn routes(check: &Check<'_>, environment: &str, gateway: &GatewayFile) -> Checked {
    let base = ["environments", environment, "kubernetes", "gateway"];
    if gateway.routes.is_empty() {
        return Err(check.error(
            code::MISSING_KEY,
            &[&base[..], &["routes"]].concat(),
            "the Gateway leads to no service",
            "Name a service with its `url`, or take `gateway` out.",
        ));
    }
    let mut taken = BTreeMap::new();
    for (service, route) in &gateway.routes {
        let path = [&base[..], &["routes", service]].concat();
        check.known(service, &path)?;
        one(check, route, &path)?;
        let mut hosts = route.hosts();
        if hosts.is_empty() {
            hosts.push("any".to_owned());
        }
        for host in hosts {
            if let Some(other) = taken.insert(host.clone(), service) {
                let what =
                    format!("`{other}` and `{service}` are reached by the same host ({host})");
                let help = "Give each `hostnames` of its own: a Gateway tells them apart by these.";
                return Err(check.error(code::OUT_OF_RANGE, &path, what, help));
            }
        }
    }
    Ok(())
}

fn one(check: &Check<'_>, route: &RouteFile, path: &[&str]) -> Checked {
    if route.reached_at().is_none() {
        let what = format!("`{}` is not where a client asks", shortened(&route.url));
        let help = "Write scheme and host, with the port where it is not the scheme's own, without a \
                    path: `https://shop.example.com`.";
        let path = [path, &["url"]].concat();
        return Err(check.error(code::WRONG_TYPE, &path, what, help));
    }
    for (index, host) in route.hostnames.iter().enumerate() {
        if !is_host(host) {
            let what = format!("`{}` is not the name of a host", shortened(host));
            let help = "Write it in small letters, such as `shop.example.com` or `*.example.com`.";
            let index = index.to_string();
            let path = [path, &["hostnames", &index]].concat();
            return Err(check.error(code::WRONG_TYPE, &path, what, help));
        }
    }
    Ok(())
}

/// Returns whether that is the name of a host, of all of a domain where it begins with `*.`.
fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix("*.").unwrap_or(host);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        (1..=63).contains(&label.len()) && edges && label.chars().all(fits)
    };
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    host.len() <= LONGEST && !is_address && bare.split('.').all(is_label)
}
