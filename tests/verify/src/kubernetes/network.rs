//! The node's network: namespaces of its own, and one link to the machine.

use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::program::Program;
use nix::unistd::Pid;
use std::net::Ipv4Addr;

/// The machine's end of the link; it goes with the node.
pub(super) const LINK: &str = "cd-stage-node";
/// The node's end.
const NODE_LINK: &str = "eth0";
/// The first halves of the ranges from which one is taken: private ones, as clusters have them.
const RANGES: [[u8; 2]; 5] = [[10, 217], [172, 29], [10, 143], [10, 91], [192, 168]];

/// The addresses of a node: 16 bits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range([u8; 2]);

impl Range {
    /// Takes a range to which the machine has no way yet.
    ///
    /// # Errors
    /// When the machine's routes cannot be read, or lead to all ranges.
    pub(super) async fn free(interrupt: &Interrupt) -> Result<Self, Error> {
        let listed = ip(&["-json", "-4", "route", "show", "table", "all"])
            .read(interrupt)
            .await?;
        let taken = routes(&listed);
        let free = RANGES.map(Self).into_iter();
        let mut free = free.filter(|range| !taken.iter().any(|route| range.meets(*route)));
        free.next().ok_or_else(|| Error::Machine {
            missing: format!("this machine has routes to all of {RANGES:?} (/16)."),
            remedy: "Free one of these ranges for the Kubernetes node, or leave it out: \
                     --without kubernetes"
                .into(),
        })
    }

    /// Returns the machine's address on the link.
    fn machine(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// Returns the node's address.
    pub(super) fn node(self) -> Ipv4Addr {
        self.address(0, 2)
    }

    /// Returns the bridge of the pods, with its prefix.
    pub(super) fn bridge(self) -> String {
        format!("{}/24", self.address(1, 1))
    }

    /// Returns the range of the pods.
    pub(super) fn pods(self) -> String {
        format!("{}/24", self.address(1, 0))
    }

    /// Returns the range of Services.
    pub(super) fn services(self) -> String {
        format!("{}/24", self.address(2, 0))
    }

    /// Returns the address that pods are told to ask for names; nobody answers there.
    pub(super) fn names(self) -> Ipv4Addr {
        self.address(2, 10)
    }

    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        let Self([first, second]) = self;
        Ipv4Addr::new(first, second, third, fourth)
    }

    fn meets(self, (address, length): (Ipv4Addr, u32)) -> bool {
        let shift = 32 - length.clamp(1, 16);
        length > 0 && self.address(0, 0).to_bits() >> shift == address.to_bits() >> shift
    }

    /// Joins the machine and the node's namespace of the network, which is that of a process.
    ///
    /// # Errors
    /// What `ip` says.
    pub(super) async fn join(self, node: Pid, interrupt: &Interrupt) -> Result<(), Error> {
        let (node_pid, machine) = (node.to_string(), format!("{}/30", self.machine()));
        let node_address = format!("{}/30", self.node());
        let (whole, node_side) = (
            format!("{}/16", self.address(0, 0)),
            self.node().to_string(),
        );
        let make = [
            "link", "add", LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", &node_pid,
        ];
        ip(&make).read(interrupt).await?;
        for words in [
            vec!["address", "add", &machine, "dev", LINK],
            vec!["link", "set", LINK, "up"],
        ] {
            ip(&words).read(interrupt).await?;
        }
        for words in [
            vec!["link", "set", "lo", "up"],
            vec!["address", "add", &node_address, "dev", NODE_LINK],
            vec!["link", "set", NODE_LINK, "up"],
        ] {
            within(node, &words).read(interrupt).await?;
        }
        let way = ["route", "add", &whole, "via", &node_side, "dev", LINK];
        ip(&way).read(interrupt).await.map(drop)
    }
}

/// Removes the link where a node is gone and it is not.
pub(super) async fn unlink() {
    // What is not there need not go.
    let _ = ip(&["link", "delete", LINK])
        .read(&Interrupt::never())
        .await;
}

fn ip(words: &[&str]) -> Program {
    Program::new("ip", 1).args(words)
}

fn within(node: Pid, words: &[&str]) -> Program {
    Program::new("nsenter", 1)
        .args([format!("--net=/proc/{node}/ns/net"), "ip".into()])
        .args(words)
}

/// Returns where the routes of a listing lead; the way to everywhere else is none of them.
fn routes(listed: &str) -> Vec<(Ipv4Addr, u32)> {
    let listed: serde_json::Value = serde_json::from_str(listed).unwrap_or_default();
    let all = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    let destinations = all.iter().filter_map(|route| route["dst"].as_str());
    let parsed = destinations.filter_map(|destination| {
        let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
        Some((address.parse().ok()?, length.parse().ok()?))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_to_which_a_route_leads_is_taken() {
        let listed = r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"172.30.5.0/24"},
            {"dst":"10.0.0.0/8"},{"dst":"172.29.0.1","type":"local"}]"#;
        let taken = routes(listed);
        assert_eq!(taken.len(), 3);
        let free: Vec<[u8; 2]> = RANGES
            .into_iter()
            .filter(|range| !taken.iter().any(|route| Range(*range).meets(*route)))
            .collect();
        assert_eq!(free, [[192, 168]]);
        assert_eq!(routes("no answer"), []);
    }

    #[test]
    fn node_pods_and_services_do_not_meet() {
        let range = Range([10, 217]);
        assert_eq!(range.node().to_string(), "10.217.0.2");
        assert_eq!(range.bridge(), "10.217.1.1/24");
        assert_eq!(range.pods(), "10.217.1.0/24");
        assert_eq!(range.services(), "10.217.2.0/24");
    }
}
