//! Counters and histograms in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::release::Release;
use crate::service::Service;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

type RouteKey = (&'static str, String);

/// What a service counts about itself. Labels are routes, never paths, so that it stays small.
pub(crate) struct Metrics {
    service: Service,
    release: String,
    requests: Mutex<BTreeMap<(RouteKey, u16), u64>>,
    durations: Mutex<BTreeMap<RouteKey, Histogram>>,
    in_flight: AtomicI64,
    orders_created: AtomicU64,
    started_at: f64,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    #[allow(clippy::disallowed_methods, reason = "the start time is a metric")]
    pub(crate) fn new(service: Service, release: &Release) -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Metrics {
            service,
            release: release.to_string(),
            requests: Mutex::default(),
            durations: Mutex::default(),
            in_flight: AtomicI64::new(0),
            orders_created: AtomicU64::new(0),
            started_at: since_epoch.unwrap_or_default().as_secs_f64(),
        }
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, method: &'static str, route: &str, status: u16, taken: Duration) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let key = (method, route.to_owned());
        *lock(&self.requests)
            .entry((key.clone(), status))
            .or_default() += 1;
        lock(&self.durations)
            .entry(key)
            .or_default()
            .record(taken.as_secs_f64());
    }

    pub(crate) fn order_created(&self) {
        self.orders_created.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns all metrics as the text that Prometheus scrapes.
    pub(crate) fn render(&self, dropped_log_lines: u64) -> String {
        let mut out = String::with_capacity(8192);
        self.render_requests(&mut out);
        self.render_durations(&mut out);
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let orders = self.orders_created.load(Ordering::Relaxed);
        single(
            &mut out,
            "http_requests_in_flight",
            "gauge",
            "Requests being answered",
            in_flight,
        );
        single(
            &mut out,
            "shop_orders_created_total",
            "counter",
            "Orders written",
            orders,
        );
        single(
            &mut out,
            "shop_log_lines_dropped_total",
            "counter",
            "Log lines their reader was too slow for",
            dropped_log_lines,
        );
        single(
            &mut out,
            "process_start_time_seconds",
            "gauge",
            "Start time since the Unix epoch in seconds",
            self.started_at,
        );
        head(
            &mut out,
            "shop_build_info",
            "gauge",
            "Which service and release this process is",
        );
        let _ = writeln!(
            out,
            "shop_build_info{{service=\"{}\",release=\"{}\"}} 1",
            self.service, self.release
        );
        out
    }

    fn render_requests(&self, out: &mut String) {
        let name = "http_requests_total";
        head(
            out,
            name,
            "counter",
            "Requests answered, by method, route and status",
        );
        for (((method, route), status), count) in &*lock(&self.requests) {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            let _ = writeln!(out, "{name}{{{labels}}} {count}");
        }
    }

    fn render_durations(&self, out: &mut String) {
        let name = "http_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "Time to answer, by method and route",
        );
        for ((method, route), histogram) in &*lock(&self.durations) {
            let labels = format!("method=\"{method}\",route=\"{route}\"");
            for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let (count, sum) = (histogram.count, histogram.sum);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}");
            let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
        }
    }
}

impl Histogram {
    fn record(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

/// A counter is whole after a panic elsewhere, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
