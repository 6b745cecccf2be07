//! Regions, and the operators that name them.

use super::super::super::ops::*;
use super::super::super::verify::MAX_NESTING;
use super::super::super::{Graph, Loc, RegionId};
use super::super::scan::Result;
use super::Parser;

impl Parser<'_> {
    /// `region r0 "name" { .. }`.
    pub(super) fn region(&mut self) -> Result<()> {
        let place = self.s.place();
        self.s.expect_word("region")?;
        let want = format!("r{}", self.graph.regions.len());
        if !self.s.eat_word(&want) {
            return self.s.expected(&format!("`{want}`: regions are numbered in order"));
        }
        if self.path.len() >= MAX_NESTING {
            return self.s.error_at(place, format!("regions are nested more than {MAX_NESTING} deep"));
        }
        let name = self.s.string()?;
        self.s.expect("{")?;
        let inner = Graph { name, locs: vec![Loc::default()], ..Graph::default() };
        self.path.push(self.graph.regions.len());
        self.region_places.entry(self.path.clone()).or_insert(place);
        let around = std::mem::replace(&mut self.graph, inner);
        let loc_ids = std::mem::take(&mut self.loc_ids);
        let node_places = std::mem::take(&mut self.node_places);
        self.body()?;
        let region = std::mem::replace(&mut self.graph, around);
        self.graph.regions.push(region);
        (self.loc_ids, self.node_places) = (loc_ids, node_places);
        self.path.pop();
        Ok(())
    }

    /// A symbol of a region: its range is that of the graph around it.
    pub(super) fn region_symbol(&mut self) -> Result<()> {
        let place = self.s.place();
        let d = self.s.dim(&["\n", ";"])?;
        match d.as_symbol() {
            Some(name) => self.graph.symbols.push(name.to_string()),
            None => return self.s.error_at(place, format!("`{d}` is no symbol")),
        }
        Ok(())
    }

    fn region_ref(&mut self, word: &str) -> Result<RegionId> {
        self.s.expect_word(word)?;
        let place = self.s.place();
        let name = self.s.word("a region")?;
        let number = name.strip_prefix('r').and_then(|d| d.parse().ok());
        match number.filter(|&k| (k as usize) < self.graph.regions.len()) {
            Some(k) => Ok(RegionId(k)),
            None => self.s.error_at(place, format!("`{name}` is no region declared above")),
        }
    }

    fn count(&mut self, word: &str) -> Result<u32> {
        self.s.expect_word(word)?;
        self.s.integer("number")
    }

    /// The attributes of a region operator or projection.
    pub(super) fn region_operator(&mut self, name: &str) -> Result<Option<Op>> {
        Ok(Some(match name {
            "cond" => {
                Cond { then: self.region_ref("then")?, otherwise: self.region_ref("otherwise")? }.into()
            }
            "while" => {
                let (cond, body) = (self.region_ref("cond")?, self.region_ref("body")?);
                While { cond, body, carried: self.count("carried")? }.into()
            }
            "scan" => {
                let body = self.region_ref("body")?;
                let (carried, xs) = (self.count("carried")?, self.count("xs")?);
                let place = self.s.place();
                let [length] = &self.named_dims("length")?[..] else {
                    return self.s.error_at(place, "a scan has one length");
                };
                let length = length.clone();
                Scan { body, carried, xs, length, reverse: self.s.eat_word("reverse") }.into()
            }
            "proj" => Proj(self.count("result")?).into(),
            _ => return Ok(None),
        }))
    }
}

/// Gives regions the ranges of the graph around them.
pub(super) fn spread_ranges(graph: &mut Graph) {
    for r in &mut graph.regions {
        for s in &r.symbols {
            let (lo, hi) = graph.ranges.symbol(s);
            if (lo, hi) != (0, None) {
                r.ranges.set_symbol(s, lo, hi);
            }
        }
        spread_ranges(r);
    }
}
