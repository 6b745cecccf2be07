//! Older semantics of operators, brought to what they mean now.
//!
//! When the meaning or the attributes of an operator change so that files would be misread, its version in
//! the operator table grows by one and a row is added here, which turns a node of the old version into one
//! that means the same in the next. Rows stay for ever; golden files hold them to it.

use super::attributes::Attributes;
use crate::graph::ops::{OpRow, TABLE};

/// A node of an operator that was looked up: its operands and attributes, as they stand in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawNode {
    /// Positions of earlier nodes.
    pub operands: Vec<u32>,
    /// Names and values.
    pub attributes: Attributes,
}

/// An operator and a version of its semantics.
pub(super) type Versioned = (&'static str, u32);

/// One step, from a version of an operator to the next, or to the operator that took its place.
pub(super) struct Upgrade {
    /// Where it starts.
    pub from: Versioned,
    /// Where it leads.
    pub to: Versioned,
    /// Makes a node of the one a node of the other, with the same meaning.
    pub apply: fn(&mut RawNode) -> Result<(), String>,
}

/// All steps.
pub(super) static UPGRADES: &[Upgrade] = &[];

/// What a reader knows: the operators and how older ones become them.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The operators as they are now.
    pub table: &'static [OpRow],
    /// The steps there.
    pub upgrades: &'static [Upgrade],
}

/// What this library knows.
pub(super) const PRESENT: Known = Known { table: TABLE, upgrades: UPGRADES };

/// The way of one operator of a file to the present.
pub(super) struct Way {
    /// The operator it has become.
    pub row: &'static OpRow,
    /// The steps to it, in order.
    pub steps: Vec<&'static Upgrade>,
}

impl Known {
    /// The way from a version of an operator to the present, or why there is none.
    pub fn way(self, name: &str, version: u32) -> Result<Way, String> {
        let Known { table, upgrades } = self;
        let (mut at, mut steps) = ((name, version), vec![]);
        loop {
            let row = table.iter().find(|r| r.name == at.0);
            if let Some(row) = row.filter(|r| r.version == at.1) {
                return Ok(Way { row, steps });
            }
            let step = upgrades.iter().find(|s| s.from == at).filter(|_| steps.len() < upgrades.len());
            let (Some(step), _) = (step, row) else {
                let newest = row.map(|r| r.version);
                return Err(match newest {
                    None => format!("operator '{name}' (version {version}) is unknown"),
                    Some(newest) if at.1 > newest => format!(
                        "operator '{name}' has version {version}, and versions up to {newest} are known"
                    ),
                    Some(_) => {
                        format!("operator '{name}' has version {version}, which no upgrade leads on from")
                    }
                });
            };
            steps.push(step);
            at = step.to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_older_version_has_a_way() {
        for row in TABLE {
            for version in 1..=row.version {
                let way = PRESENT.way(row.name, version).unwrap();
                assert_eq!(way.row.name, row.name);
                assert_eq!(way.steps.len() as u32, row.version - version);
            }
            assert!(PRESENT.way(row.name, row.version + 1).is_err());
            assert!(PRESENT.way(row.name, 0).is_err());
        }
        for step in UPGRADES {
            assert!(PRESENT.way(step.from.0, step.from.1).is_ok(), "{:?} leads nowhere", step.from);
        }
    }
}
