//! What is measured of a synthetic run.

use super::*;

impl Synthetic {
    pub(super) fn count(&mut self, second: f64, failed: u64) {
        let (first, last) = (self.time(6.0), self.time(second));
        let sent = ((second - 6.0) * self.stretch * 50.0) as u64;
        self.at(second);
        self.say(EventBody::ClientCounted(ClientCounted {
            client: "client".to_owned(),
            first,
            last,
            sent,
            failed,
            causes: BTreeMap::from([("5xx".to_owned(), failed)]),
            releases: BTreeMap::from([
                (
                    "1.0.0".to_owned(),
                    ReleaseCount {
                        answered: sent / 2,
                        failed: 0,
                    },
                ),
                (
                    "1.1.0".to_owned(),
                    ReleaseCount {
                        answered: sent - sent / 2,
                        failed,
                    },
                ),
            ]),
            longest_gap_us: 61_000,
            goes_on: false,
        }));
    }

    pub(super) fn load_tests(&mut self) {
        for (name, version, base) in [("steady", "1.1.0", 4000), ("steady-before", "1.0.0", 3500)] {
            if version == "1.0.0" && self.story == Story::Initial {
                continue;
            }
            let mut latency = Latency::new();
            for number in 0..6000_u64 {
                let tail = if number % 100 == 0 { number * 9 } else { 0 };
                latency.count(base + (number * 7919 % 3000) + tail);
            }
            self.at(78.0);
            self.say(EventBody::LoadTested(LoadTested {
                name: name.to_owned(),
                release: release(version),
                rate: 600,
                duration_us: 10_000_000,
                sent: 6000,
                failed: 0,
                latency,
                throughput: 599.4,
            }));
        }
    }

    /// The share of the new release at a second of the short run.
    pub(super) fn share(&self, second: f64) -> u64 {
        if self.story == Story::Initial {
            return if second < 26.0 { 0 } else { 100 };
        }
        match second {
            s if s < 26.0 => 0,
            s if self.story == Story::Halted && (29.0..31.0).contains(&s) => 0,
            s if s < 32.0 => 5,
            s if s < 34.0 => 0,
            s if s < 38.8 || (self.story == Story::Succeeded && s < 44.5) => 25,
            _ if self.story == Story::RolledBack => 0,
            s if s < 55.0 => 50,
            _ => 100,
        }
    }

    pub(super) fn samples(&self) {
        let end = if self.story == Story::RolledBack {
            43.0
        } else {
            88.0
        };
        let seconds = (end * self.stretch) as i64;
        let open = |name: &str| SampleWriter::open(&self.folder.samples_path(), name).unwrap();
        let (mut client, mut router, mut platform) =
            (open("client"), open("router"), open("platform"));
        for second in (6.0 * self.stretch) as i64..seconds {
            let share = self.share(second as f64 / self.stretch);
            let unix = self.begin.timestamp() + second;
            let mut lines = Vec::new();
            let mut routed = Vec::new();
            for (version, part) in [("1.0.0", 100 - share), ("1.1.0", share)] {
                if part == 0 || (self.story == Story::Initial && version == "1.0.0") {
                    continue;
                }
                let count = 50 * part / 100;
                lines.push(self.sample(unix, "storefront", version, Source::Client, count.max(1)));
                for service in SERVICES {
                    routed.push(self.sample(unix, service, version, Source::Router, count.max(1)));
                }
            }
            client.append(&lines).unwrap();
            router.append(&routed).unwrap();
            let mut figures = Vec::new();
            for service in SERVICES {
                let mut sample = Sample::empty(unix, service, "1.1.0", Source::Platform);
                sample.count = 1;
                let bytes = 40_000_000.0 + (second % 60) as f64 * 100_000.0;
                sample.figures.insert("resident_bytes".to_owned(), bytes);
                figures.push(sample);
            }
            platform.append(&figures).unwrap();
        }
    }

    pub(super) fn sample(
        &self,
        unix: i64,
        service: &str,
        version: &str,
        source: Source,
        count: u64,
    ) -> Sample {
        let mut sample = Sample::empty(unix, service, version, source);
        sample.count = count;
        let new = version == "1.1.0";
        if new && self.story == Story::RolledBack {
            sample.errors.insert("5xx".to_owned(), count / 8);
        }
        for number in 0..count - sample.failed() {
            let seed = (unix as u64).wrapping_mul(31).wrapping_add(number * 7919) % 1000;
            let base = if new { 2600 } else { 3000 };
            let spike = if seed > 985 { 30_000 } else { 0 };
            sample.latency.count(base + seed * 3 + spike);
        }
        sample
    }
}
