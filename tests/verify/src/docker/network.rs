//! What a Docker engine changes of the machine's network and leaves so when it ends.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The chains that the engine makes in the firewall and leaves there.
const CHAINS: [&str; 4] = [
    "DOCKER",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
    "DOCKER-USER",
];

/// Whether packets between interfaces are passed on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What of the machine's network an engine changes, as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// Whether the firewall had the engine's chains.
    chains: bool,
    /// What happens to packets between interfaces that no rule names.
    policy: String,
    /// Whether packets between interfaces are passed on.
    forwarding: String,
}

impl Before {
    /// Looks at the machine's network.
    ///
    /// # Errors
    /// When the firewall cannot be read.
    pub(super) async fn look(interrupt: &Interrupt) -> Result<Self, Error> {
        let rules = iptables(&["-S", "FORWARD"]).read(interrupt).await?;
        let chains = iptables(&["-n", "-L", "DOCKER"]).read(interrupt).await;
        let forwarding = std::fs::read_to_string(FORWARDING).unwrap_or_default();
        Ok(Self {
            chains: chains.is_ok(),
            policy: policy(&rules).to_owned(),
            forwarding: forwarding.trim().to_owned(),
        })
    }

    /// Writes it down for a verification after this one.
    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
    }

    /// Reads what a verification before this one wrote.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Makes the network again what it was. Chains that were there stay: another engine has them.
    pub(super) async fn restore(&self, interrupt: &Interrupt) {
        let mut commands = vec![vec!["-P", "FORWARD", self.policy.as_str()]];
        if !self.chains {
            commands.extend(removal());
        }
        for words in commands {
            // What is not there need not go.
            let _ = iptables(&words).read(interrupt).await;
        }
        if !self.forwarding.is_empty()
            && let Err(error) = std::fs::write(FORWARDING, &self.forwarding)
        {
            crate::report::note(&format!("{FORWARDING} is not as it was before: {error}"));
        }
    }
}

fn iptables(words: &[&str]) -> Program {
    Program::new("iptables", 1).args(words)
}

/// Returns the policy of the chain whose rules are listed.
fn policy(rules: &str) -> &str {
    let named = rules
        .lines()
        .find_map(|line| line.strip_prefix("-P FORWARD "));
    named.unwrap_or("ACCEPT").trim()
}

/// Returns what takes the engine's chains out of the firewall.
fn removal() -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<_>> = [
        "-D FORWARD -j DOCKER-USER",
        "-D FORWARD -j DOCKER-ISOLATION-STAGE-1",
        "-t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -D OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -F DOCKER",
        "-t nat -X DOCKER",
    ]
    .map(|line| line.split(' ').collect())
    .into();
    all.extend(CHAINS.map(|chain| vec!["-F", chain]));
    all.extend(CHAINS.map(|chain| vec!["-X", chain]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_read_and_what_was_before_is_read_back() {
        assert_eq!(
            policy("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n"),
            "DROP"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("before.json");
        assert_eq!(Before::read(&path), None);
        let before = Before {
            chains: false,
            policy: "ACCEPT".into(),
            forwarding: "0".into(),
        };
        before.write(&path).unwrap();
        assert_eq!(Before::read(&path), Some(before));
    }
}
