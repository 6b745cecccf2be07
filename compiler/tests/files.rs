//! Runs every file test beneath `files/`, and tests what runs them. With `FORNAX_BLESS=1` the checks of
//! failing files are rewritten; see `docs/file-tests.md`.

use fornax_compiler::filetest::{Failure, bless, run};
use std::path::{Path, PathBuf};

fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no file", folder.display());
    files
}

/// Runs a file; when it fails and blessing is asked for, rewrites it.
fn run_file(path: &Path, blessing: bool) -> Result<(), Failure> {
    let shown = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(path);
    let name = format!("{}", shown.display());
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let result = run(&text, &name);
    if result.is_err() && blessing {
        let blessed = bless(&text).map_err(|failure| Failure { path: name.clone(), ..failure })?;
        std::fs::write(path, blessed).unwrap_or_else(|e| panic!("{name}: {e}"));
        return Ok(());
    }
    result
}

fn run_folder(name: &str) {
    let blessing = std::env::var_os("FORNAX_BLESS").is_some_and(|v| v == "1");
    let files = folder(name);
    let failures: Vec<String> =
        files.iter().filter_map(|f| run_file(f, blessing).err()).map(|f| f.to_string()).collect();
    let (failed, all) = (failures.len(), files.len());
    assert!(failures.is_empty(), "{failed} of {all} fail\n\n{}\n", failures.join("\n\n"));
    let directive = format!("; test {name}");
    for f in &files {
        let text = std::fs::read_to_string(f).unwrap();
        assert!(text.lines().any(|l| l.starts_with(&directive)), "{} is not in its folder", f.display());
    }
}

#[test]
fn rewrite() {
    run_folder("rewrite");
}

#[test]
fn saturate() {
    run_folder("saturate");
}

#[test]
fn every_rule_is_seen_firing_in_a_file() {
    let text: String = folder("saturate").iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    let unseen: Vec<_> = fornax_compiler::rewrite::rules::all()
        .filter(|r| !text.contains(&format!("; check: rule {}: ", r.name)))
        .map(|r| r.name)
        .collect();
    assert!(unseen.is_empty(), "no file test of `saturate` shows these rules: {unseen:?}");
}

#[test]
fn schedule() {
    run_folder("schedule");
}

#[test]
fn lower() {
    run_folder("lower");
}

#[test]
fn running() {
    run_folder("run");
}

const GRAPH: &str = r#"
graph "g" {
  %0: f32[n] = input "x"
  %1: f32[n] = neg %0
  %2: f32[n] = tanh %1
  output "y" %2
}
"#;

fn with(lines: &[&str]) -> String {
    let comments: Vec<String> = lines.iter().map(|l| format!("; {l}\n")).collect();
    format!("; A title.\n{}{GRAPH}", comments.concat())
}

fn failure(lines: &[&str]) -> Failure {
    run(&with(lines), "g.gir").expect_err("it should fail")
}

#[test]
fn checks_hold_in_order_and_white_space_is_folded() {
    run(&with(&["test rewrite", "check: neg   %0", "check: tanh %1", "check: output"]), "").unwrap();
    // Both are there, in the other order.
    let f = failure(&["test rewrite", "check: tanh %1", "check: neg %0"]);
    assert_eq!(f.line, 4);
    assert!(f.what.contains("not found behind the check before"), "{f}");
    assert!(f.to_string().starts_with("g.gir:4: `neg %0`"), "{f}");
    let searched = f.searched.unwrap();
    assert!(searched.output.lines().nth(searched.from).unwrap().contains("tanh"));
}

#[test]
fn a_wrong_check_shows_the_output_and_the_nearest_line() {
    let f = failure(&["test rewrite", "check: %1: f32[n] = abs %0"]);
    assert_eq!(f.line, 3);
    let text = f.to_string();
    assert!(text.contains("`%1: f32[n] = abs %0` is not found"), "{text}");
    assert!(text.contains("> graph \"g\""), "{text}");
    assert!(text.contains("~   %1: f32[n] = neg %0"), "{text}");
}

#[test]
fn what_must_be_absent_is_looked_for_between_its_neighbours() {
    run(&with(&["test rewrite", "check-not: tanh", "check: neg", "check: output", "check-not: neg"]), "")
        .unwrap();
    let between = failure(&["test rewrite", "check: input", "check-not: neg", "check: tanh"]);
    assert_eq!(between.line, 4);
    assert!(between.what.contains("must not occur"), "{between}");
    let behind = failure(&["test rewrite", "check: neg", "check-not: tanh"]);
    assert_eq!(behind.line, 4);
}

#[test]
fn wrong_directives_are_named_with_what_would_work() {
    let cases: &[(&[&str], usize, &str)] = &[
        (&["test rewrite", "chekc: neg"], 3, "`check: TEXT`"),
        (&["test rewrit"], 2, "known are rewrite, saturate, schedule, lower, run"),
        (&["test rewrite optimizer=none"], 2, "it has strict, fold-budget"),
        (&["test schedule optimizer=fast", "check: a"], 2, "known are none, greedy"),
        (&["test schedule optimizer", "check: a"], 2, "needs a value"),
        (&["test rewrite strict=1"], 2, "takes no value"),
        (&["test rewrite", "test run"], 3, "one `test` line"),
        (&["test rewrite", "check:"], 3, "needs a text"),
        (&["test schedule", "kernels: few"], 3, "no number of kernels"),
        (&["check: neg"], 0, "no line `; test"),
        (&["test rewrite"], 0, "nothing is checked"),
        (&["test rewrite", "kernels: 1"], 0, "belongs to `test schedule`"),
        (&["test lower", "check: a"], 5, "`graph` where `kernel` is expected"),
        (&["test run", "check: y"], 0, "input `x` needs a line"),
        (&["test run", "input z: f32[1] = [0]", "check: y"], 0, "no input `z`; it has x"),
        (&["test run", "input x: f32[2] = [0]"], 3, "1 values for the 2 elements"),
        (&["test run", "input x: i8[1] = [200]"], 3, "`200` is no i8"),
        (&["test run", "input x: f32[99999999999] = splat 0"], 3, "more than"),
        (&["test run", "input x: i32[1] = [1]", "check: y"], 0, "must be f32"),
    ];
    for (lines, line, what) in cases {
        let f = failure(lines);
        assert_eq!(f.line, *line, "{lines:?}: {f}");
        assert!(f.what.contains(what), "{lines:?}: {f}");
    }
    // Words that only look like a directive are a comment.
    run(&with(&["Note: this is prose", "test rewrite", "check: neg"]), "").unwrap();
}

#[test]
fn a_graph_that_cannot_be_read_is_an_error_with_its_line() {
    let f = run("; test rewrite\n; check: a\ngraph \"g\" {\n  %0: f33[n] = input \"x\"\n}\n", "g.gir");
    let f = f.unwrap_err();
    assert_eq!(f.line, 4);
    assert!(f.what.contains("f33"), "{f}");
}

#[test]
fn kernels_are_counted() {
    run(&with(&["test schedule", "kernels: 1"]), "").unwrap();
    run(&with(&["test schedule optimizer=none", "kernels: 2"]), "").unwrap();
    let f = failure(&["test schedule", "kernels: 2"]);
    assert_eq!((f.line, &*f.what), (3, "the program calls 1 kernels, not 2"));
}

#[test]
fn blessing_makes_a_failing_file_pass_and_changes_it_no_more() {
    let text =
        with(&["test rewrite strict", "focus: %0", "check: nothing of it", "check-not: abs", "A tail."]);
    run(&text, "").unwrap_err();
    let blessed = bless(&text).unwrap();
    run(&blessed, "").unwrap();
    assert_eq!(bless(&blessed).unwrap(), blessed);
    let lines: Vec<&str> = blessed.lines().collect();
    let want = [
        "; A title.",
        "; test rewrite strict",
        "; focus: %0",
        "; check: %0: f32[n] = input \"x\"",
        "; check: %1: f32[n] = neg %0",
        "; check-not: abs",
        "; A tail.",
    ];
    assert_eq!(&lines[..want.len()], want);
    assert!(blessed.ends_with(GRAPH));
}

#[test]
fn blessing_adds_checks_and_corrects_the_number_of_kernels() {
    let text = with(&["test schedule", "kernels: 7", "focus: call"]);
    let blessed = bless(&text).unwrap();
    run(&blessed, "").unwrap();
    assert!(blessed.contains("; kernels: 1\n"), "{blessed}");
    assert!(blessed.lines().last().unwrap().starts_with("; check: call 0:"), "{blessed}");
    let f = bless(&with(&["test schedule", "focus: nowhere"])).unwrap_err();
    assert!(f.what.contains("no line of the output holds nowhere"), "{f}");
    // What must be absent and is not cannot be blessed away.
    let f = bless(&with(&["test rewrite", "check-not: neg", "focus: output"])).unwrap_err();
    assert!(f.what.contains("must not occur"), "{f}");
}

#[test]
fn values_of_every_kind_reach_the_run() {
    let text = with(&["test run", "input x: f32[4] = [nan, -inf, -0.0, 0x3f800000]"]);
    let blessed = bless(&text).unwrap();
    assert!(blessed.ends_with("; check: y: f32[4]\n; check: [nan, 1.0, 0.0, -0.761594]\n"), "{blessed}");
    let seeded = |n: u32| bless(&with(&["test run", &format!("input x: f32[3] = seeded({n})")])).unwrap();
    assert_eq!(seeded(1), seeded(1));
    let last = |s: String| s.lines().last().unwrap().to_owned();
    assert_ne!(last(seeded(1)), last(seeded(2)));
}
