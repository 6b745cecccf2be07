//! Whether an output holds what is checked.

use super::directive::{Check, Relation, Test, fold};
use super::{Failure, Searched};

/// An output, line by line with white space folded, as one text.
struct Folded<'o> {
    output: &'o str,
    text: String,
}

impl<'o> Folded<'o> {
    fn new(output: &'o str) -> Self {
        Folded { output, text: output.lines().map(fold).collect::<Vec<_>>().join("\n") }
    }

    /// The place of a text at or behind `from`.
    fn find(&self, text: &str, from: usize) -> Option<usize> {
        self.text[from..].find(text).map(|at| from + at)
    }

    fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count()
    }

    fn failure(&self, check: &Check, what: String, from: usize, nearest: Option<usize>) -> Failure {
        let searched = Searched { output: self.output.to_owned(), from: self.line_of(from), nearest };
        Failure { searched: Some(Box::new(searched)), ..Failure::at(check.line, what) }
    }

    /// The line behind `from` with most words of `text`, if it has half of them.
    fn nearest(&self, text: &str, from: usize) -> Option<usize> {
        let words: Vec<&str> = text.split(' ').collect();
        let first = self.line_of(from);
        let lines = self.text.split('\n').enumerate().skip(first);
        let common = |line: &str| words.iter().filter(|w| line.split(' ').any(|l| l == **w)).count();
        let scored = lines.map(|(i, line)| (common(line), i));
        let best = scored.max_by_key(|&(score, i)| (score, std::cmp::Reverse(i)))?;
        (2 * best.0 >= words.len()).then_some(best.1)
    }
}

/// Whether every check holds. A text that must be present is looked for behind the one before; one that
/// must be absent, between its neighbours.
///
/// # Errors
/// The first check that does not hold.
pub(super) fn verify(checks: &[Check], output: &str) -> Result<(), Failure> {
    let folded = Folded::new(output);
    let mut from = 0;
    let mut absent: Vec<&Check> = vec![];
    for check in checks {
        if check.relation == Relation::Absent {
            absent.push(check);
            continue;
        }
        let Some(at) = folded.find(&check.text, from) else {
            let nearest = folded.nearest(&check.text, from);
            let what = match folded.find(&check.text, 0) {
                Some(at) => format!(
                    "`{}` is not found behind the check before, only on line {} of the output",
                    check.text,
                    folded.line_of(at) + 1
                ),
                None => format!("`{}` is not found", check.text),
            };
            return Err(folded.failure(check, what, from, nearest));
        };
        demand_absent(&folded, &mut absent, from, at)?;
        from = at + check.text.len();
    }
    demand_absent(&folded, &mut absent, from, folded.text.len())
}

fn demand_absent(
    folded: &Folded<'_>,
    absent: &mut Vec<&Check>,
    from: usize,
    to: usize,
) -> Result<(), Failure> {
    for check in absent.drain(..) {
        if let Some(at) = folded.text[from..to].find(&check.text) {
            let what = format!("`{}` must not occur here", check.text);
            return Err(folded.failure(check, what, from, Some(folded.line_of(from + at))));
        }
    }
    Ok(())
}

/// The lines of an output that blessing makes into checks.
///
/// # Errors
/// If there are none.
pub(super) fn lines_to_bless(test: &Test, output: &str) -> Result<Vec<String>, Failure> {
    let focused = |line: &String| test.focus.is_empty() || test.focus.iter().any(|f| line.contains(&**f));
    // A lone brace says nothing.
    let telling = |line: &String| line.contains(char::is_alphanumeric);
    let lines: Vec<String> = output.lines().map(fold).filter(telling).filter(focused).collect();
    if lines.is_empty() {
        let what = match test.focus.is_empty() {
            true => "the output is empty".to_owned(),
            false => format!("no line of the output holds {}", test.focus.join(" or ")),
        };
        let searched = Searched { output: output.to_owned(), from: 0, nearest: None };
        return Err(Failure { searched: Some(Box::new(searched)), ..Failure::whole(what) });
    }
    Ok(lines)
}
