//! What `verify` says of who signed a record: which key sealed what, which signatures nobody knows, and who stands
//! for it.

use code_deploy_record::{RunFolder, SealReport, Trust, VerifyReport, Witness};

use super::foreign::listed;

/// Says by which keys a record is sealed, and how far.
pub(super) fn sealed(report: &VerifyReport) -> String {
    let seal: &SealReport = &report.seal;
    let Some(tree) = seal.tree.filter(|_| !seal.keys.is_empty()) else {
        return match report.broken {
            Some(_) => String::new(),
            None => ", no signature".to_owned(),
        };
    };
    let mut names: Vec<String> = Vec::new();
    for (_, key) in &seal.keys {
        if !names.contains(&key.name()) {
            names.push(key.name());
        }
    }
    let root = tree.root.short();
    format!(
        ", root {root} of {}; {} of {}, the last over {}",
        match tree.size {
            1 => "1 leaf".to_owned(),
            more => format!("{more} leaves"),
        },
        counted(seal.checkpoints, "checkpoint"),
        names.join(", "),
        counted(seal.covered, "event")
    )
}

/// Returns a number with the word for what it counts.
pub(super) fn counted(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        more => format!("{more} {one}s"),
    }
}

/// Says where another key seals that may, and how far the one before it signed. Where it may not, that is a finding.
pub(super) fn changes(name: &str, report: &VerifyReport, trust: &Trust) -> Vec<String> {
    let keys = report.seal.keys.iter();
    let before = keys.clone().zip(&report.seal.covered_by);
    let changes = keys.skip(1).zip(before);
    let allowed = changes.filter(|((_, key), _)| trust.knows(&key.ed25519()));
    let told = allowed.map(|((event, key), ((_, before), covered))| {
        let signed = match covered {
            0 => "which signed none".to_owned(),
            1 => "which signed event 0".to_owned(),
            more => format!("which signed events 0 to {}", more - 1),
        };
        format!(
            "{name}: {}: from here on {} seals (before: {}, {signed})",
            RunFolder::place_of(*event),
            key.name(),
            before.name()
        )
    });
    told.collect()
}

/// Says which lines of signatures nobody can tell whose they are. They are no damage: whoever may write a checkpoint
/// may add some, in any name.
pub(super) fn unverified(name: &str, report: &VerifyReport) -> Option<String> {
    let lines = &report.seal.unverified;
    if lines.is_empty() {
        return None;
    }
    let named: Vec<String> = lines
        .iter()
        .map(|(place, signer)| format!("{signer} ({place})"))
        .collect();
    Some(format!(
        "{name}: nothing shows whose these further signatures are, and they do not count: {}. Give the public key of a \
         witness with `--witness`, as you have it from them.",
        listed(&named)
    ))
}

/// Says who stands for a record.
pub(super) fn vouched(name: &str, report: &VerifyReport) -> String {
    let seal = &report.seal;
    let names = |is_meant: fn(&Witness) -> bool| {
        let meant = seal.witnesses.iter().filter(|one| is_meant(one));
        let names: Vec<String> = meant.map(|one| one.key.name()).collect();
        names.join(", ")
    };
    let known = names(|one| one.known);
    let sealing = match names(|one| one.seals).as_str() {
        "" => String::new(),
        names => format!(
            " A key that is given with `--key` signed its last checkpoint, too ({names}): it does not count as a \
             witness's; give it with `--witness` instead if it is one."
        ),
    };
    if !known.is_empty() {
        return format!("{name}: a second person vouches for it: {known}.{sealing}");
    }
    let unknown = match names(|one| !one.known && !one.seals).as_str() {
        "" => String::new(),
        names => format!(
            " A second key signed it, too ({names}): give it with `--witness` if you know whose it is."
        ),
    };
    let holder = match seal.keys.last() {
        Some((_, key)) => format!("whoever holds key {}", key.name()),
        None => "whoever can write the folder".to_owned(),
    };
    format!(
        "{name} is self-asserted: {holder} could have written all of it anew.{sealing}{unknown}"
    )
}
