//! Directives: the comments that say what a file tests.

use super::Failure;
use super::stage::Output;
use super::values;
use crate::Optimizer;
use fornax_codegen::Cpu;
use fornax_ir::Literal;

/// The stage under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A graph, canonicalized.
    Rewrite,
    /// A graph's e-graph: which rules fired, and each value's spellings.
    Saturate,
    /// A graph's plan, program and kernels.
    Schedule,
    /// The leaves of kernels.
    Lower,
    /// A graph's results for given inputs, on which all ways to run it must agree.
    Run,
}

impl Kind {
    /// All stages, by name, with the options each takes.
    pub const ALL: [(Kind, &str, &[&str]); 5] = [
        (Kind::Rewrite, "rewrite", &["strict", "fold-budget"]),
        (Kind::Saturate, "saturate", &["strict"]),
        (Kind::Schedule, "schedule", &["strict", "optimizer", "merge"]),
        (Kind::Lower, "lower", &["cpu"]),
        (Kind::Run, "run", &["strict", "merge"]),
    ];
}

/// What a check demands of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    /// It occurs behind the check before.
    Present,
    /// It does not occur between the checks around it.
    Absent,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Check {
    /// What it demands.
    pub(super) relation: Relation,
    /// The text, white space folded.
    pub(super) text: String,
    /// Its line in the file, from 1.
    pub(super) line: usize,
}

/// A file test without the text under test.
#[derive(Clone, Debug)]
pub struct Test {
    /// The stage.
    pub kind: Kind,
    /// Only rewrites that keep every bit.
    pub strict: bool,
    /// Bytes that folding may add; `None`: as the compiler has it.
    pub fold_budget: Option<usize>,
    /// Who plans.
    pub optimizer: Optimizer,
    /// Pairs of kernels that are made one, each numbered in the plan that the merge before it leaves.
    pub merges: Vec<(usize, usize)>,
    /// The level of x86-64 that leaves are made for.
    pub cpu: Cpu,
    /// Values of the graph's inputs by name.
    pub inputs: Vec<(String, Literal)>,
    /// How many kernels the program calls, and the line that says so.
    pub(super) kernels: Option<(usize, usize)>,
    /// Words of which a blessed line holds one.
    pub(super) focus: Vec<String>,
    /// The checks, in order.
    pub(super) checks: Vec<Check>,
}

/// Reads the rest of a directive's line into the test.
type Read = fn(&mut Draft, rest: &str, line: usize) -> Result<(), String>;

/// Every directive: its first word, the form of the rest, how it is read.
static DIRECTIVES: &[(&str, &str, Read)] = &[
    ("test", "rewrite|saturate|schedule|lower|run OPTION...", read_test),
    ("input", "NAME: DTYPE[SHAPE] = VALUES", read_input),
    ("kernels:", "N", read_kernels),
    ("focus:", "TEXT", read_focus),
    ("check:", "TEXT", |d, rest, line| d.check(Relation::Present, rest, line)),
    ("check-not:", "TEXT", |d, rest, line| d.check(Relation::Absent, rest, line)),
];

/// A test whose kind may still come.
struct Draft {
    kind: Option<Kind>,
    test: Test,
}

impl Draft {
    fn check(&mut self, relation: Relation, rest: &str, line: usize) -> Result<(), String> {
        let text = fold(rest);
        if text.is_empty() {
            return Err("a check needs a text".to_owned());
        }
        self.test.checks.push(Check { relation, text, line });
        Ok(())
    }
}

/// Text with every run of white space as one blank, none at the ends.
pub(super) fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first word of a comment and what follows it, if the line is a comment.
fn comment(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim().strip_prefix(';')?.trim();
    Some(rest.split_once(char::is_whitespace).map_or((rest, ""), |(word, rest)| (word, rest.trim())))
}

/// The directive that a line of a file is: an index into [`DIRECTIVES`], and the rest of the line.
fn directive(line: &str) -> Result<Option<(usize, &str)>, String> {
    let Some((word, rest)) = comment(line) else { return Ok(None) };
    if let Some(found) = DIRECTIVES.iter().position(|d| d.0 == word) {
        return Ok(Some((found, rest)));
    }
    let like_one = |c: char| c.is_ascii_lowercase() || c == '-';
    match word.strip_suffix(':') {
        Some(name) if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(like_one) => {
            let known: Vec<String> = DIRECTIVES.iter().map(|d| format!("`{} {}`", d.0, d.1)).collect();
            Err(format!("unknown directive `{word}`; known are {}", known.join(", ")))
        }
        _ => Ok(None),
    }
}

/// Reads the directives of a file.
///
/// # Errors
/// The first line whose directive is unknown or wrong, or that no line says what is tested.
pub(super) fn parse(text: &str) -> Result<Test, Failure> {
    let test = Test {
        kind: Kind::Rewrite,
        strict: false,
        fold_budget: None,
        optimizer: Optimizer::Greedy,
        merges: vec![],
        cpu: Cpu::V3,
        inputs: vec![],
        kernels: None,
        focus: vec![],
        checks: vec![],
    };
    let mut draft = Draft { kind: None, test };
    for (i, line) in text.lines().enumerate() {
        let read = directive(line).and_then(|found| match found {
            Some((d, rest)) => (DIRECTIVES[d].2)(&mut draft, rest, i + 1),
            None => Ok(()),
        });
        read.map_err(|what| Failure::at(i + 1, what))?;
    }
    let Draft { kind, mut test } = draft;
    test.kind = kind.ok_or_else(|| Failure::whole("no line `; test rewrite|schedule|lower|run`"))?;
    for (stands, name, of) in [
        (!test.inputs.is_empty(), "input", Kind::Run), //
        (test.kernels.is_some(), "kernels:", Kind::Schedule),
    ] {
        if stands && test.kind != of {
            return Err(Failure::whole(format!("`{name}` belongs to `test {}`", kind_name(of))));
        }
    }
    Ok(test)
}

fn kind_name(kind: Kind) -> &'static str {
    Kind::ALL.iter().find(|k| k.0 == kind).map_or("", |k| k.1)
}

fn read_test(draft: &mut Draft, rest: &str, _: usize) -> Result<(), String> {
    if draft.kind.is_some() {
        return Err("a file has one `test` line".to_owned());
    }
    let mut words = rest.split_whitespace();
    let name = words.next().unwrap_or_default();
    let Some(&(kind, _, known)) = Kind::ALL.iter().find(|k| k.1 == name) else {
        let known = Kind::ALL.map(|k| k.1).join(", ");
        return Err(format!("unknown test `{name}`; known are {known}"));
    };
    draft.kind = Some(kind);
    for word in words {
        let (option, value) = word.split_once('=').map_or((word, None), |(o, v)| (o, Some(v)));
        if !known.contains(&option) {
            return Err(format!("`test {name}` has no option `{option}`; it has {}", known.join(", ")));
        }
        set_option(&mut draft.test, option, value)?;
    }
    Ok(())
}

fn set_option(test: &mut Test, option: &str, value: Option<&str>) -> Result<(), String> {
    match (option, value) {
        ("strict", None) => test.strict = true,
        ("strict", Some(_)) => return Err("`strict` takes no value".to_owned()),
        (_, None) => return Err(format!("`{option}` needs a value: `{option}=...`")),
        ("optimizer", Some(v)) => test.optimizer = v.parse()?,
        ("merge", Some(v)) => {
            let pair = v.split_once('+').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            let pair = pair.ok_or_else(|| format!("`merge` takes two kernels, as in 0+1, not `{v}`"))?;
            test.merges.push(pair);
        }
        ("cpu", Some(v)) => test.cpu = v.parse().map_err(|e: fornax_codegen::Error| e.to_string())?,
        (_, Some(v)) => {
            let bytes = v.parse().map_err(|_| format!("`{option}` is a number of bytes, not `{v}`"))?;
            test.fold_budget = Some(bytes);
        }
    }
    Ok(())
}

fn read_input(draft: &mut Draft, rest: &str, _: usize) -> Result<(), String> {
    let (name, value) = rest.split_once(':').ok_or("expected `NAME: DTYPE[SHAPE] = VALUES`")?;
    let name = name.trim().to_owned();
    if draft.test.inputs.iter().any(|i| i.0 == name) {
        return Err(format!("input `{name}` has a value already"));
    }
    let value = values::parse(value).map_err(|what| format!("input `{name}`: {what}"))?;
    draft.test.inputs.push((name, value));
    Ok(())
}

fn read_kernels(draft: &mut Draft, rest: &str, line: usize) -> Result<(), String> {
    if draft.test.kernels.is_some() {
        return Err("the number of kernels stands above already".to_owned());
    }
    let n = rest.parse().map_err(|_| format!("`{rest}` is no number of kernels"))?;
    draft.test.kernels = Some((n, line));
    Ok(())
}

fn read_focus(draft: &mut Draft, rest: &str, _: usize) -> Result<(), String> {
    if rest.is_empty() {
        return Err("a focus needs a text".to_owned());
    }
    draft.test.focus.push(fold(rest));
    Ok(())
}

impl Test {
    /// A test without a check could not fail.
    pub(super) fn demand_checks(&self) -> Result<(), Failure> {
        if self.checks.is_empty() && self.kernels.is_none() {
            return Err(Failure::whole("nothing is checked; write `; check:` lines or bless the file"));
        }
        Ok(())
    }

    pub(super) fn check_kernels(&self, output: &Output) -> Result<(), Failure> {
        match self.kernels {
            Some((want, line)) if want != output.kernels => {
                let what = format!("the program calls {} kernels, not {want}", output.kernels);
                let searched = super::Searched { output: output.text.clone(), from: 0, nearest: None };
                Err(Failure { searched: Some(Box::new(searched)), ..Failure::at(line, what) })
            }
            _ => Ok(()),
        }
    }
}

/// The file with these checks instead of its own, and the number of kernels if it has one.
pub(super) fn with_checks(text: &str, test: &Test, lines: &[String], kernels: usize) -> String {
    let before = |line: usize| {
        let present = test.checks.iter().filter(|c| c.relation == Relation::Present);
        present.filter(|c| c.line < line).count()
    };
    let total = before(usize::MAX);
    // The texts that must be absent, each with the number of new checks before it.
    let absent = test.checks.iter().filter(|c| c.relation == Relation::Absent);
    let absent = absent.map(|c| {
        let k = before(c.line);
        (if k == total && k > 0 { lines.len() } else { k.min(lines.len()) }, &c.text)
    });
    let absent: Vec<(usize, &String)> = absent.collect();
    let mut block = vec![];
    for i in 0..=lines.len() {
        block.extend(absent.iter().filter(|a| a.0 == i).map(|a| format!("; check-not: {}", a.1)));
        block.extend(lines.get(i).map(|l| format!("; check: {l}")));
    }
    let mut out: Vec<String> = vec![];
    let mut block = Some(block);
    for (i, line) in text.lines().enumerate() {
        if test.checks.iter().any(|c| c.line == i + 1) {
            out.extend(block.take().into_iter().flatten());
        } else if test.kernels.is_some_and(|k| k.1 == i + 1) {
            out.push(format!("; kernels: {kernels}"));
        } else {
            out.push(line.to_owned());
        }
    }
    out.extend(block.take().into_iter().flatten());
    out.join("\n") + "\n"
}
