//! Holds the source tree itself to the house rules: size, layering, words, links and the places of unsafe code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A source file of Rust or Python is a topic, not a heap.
const MAX_LINES: usize = 800;

/// How far above an `unsafe` block its reason may begin.
const SAFETY_LINES: usize = 6;

/// The folders that may hold unsafe code; a folder named `ffi` may hold it anywhere.
const UNSAFE_FOLDERS: &[&str] = &["compiler/codegen/", "runtime/"];

/// Crate paths that one folder alone may name: words of the code, the folder.
const OWNED: &[(&str, &str)] = &[
    (concat!("egg", "::"), "compiler/src/rewrite/"),
    (concat!("cranelift", "_"), "compiler/codegen/"),
    (concat!("iced", "_x86"), "compiler/codegen/"),
];

/// Words that say nothing about what a module or type is for.
const VAGUE: &[&str] = &[
    "manager", "managers", "helper", "helpers", "util", "utils", "engine", "engines", "process", "handler",
    "handlers",
];

/// What the project's public text does not speak of: hosts of registries, places on one machine, how it is written.
const UNWELCOME: &[&str] = &[
    concat!("issue", " #"),
    concat!("/wo", "rk/"),
    concat!("../", "shared"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
];

/// Unwelcome as words of their own.
const UNWELCOME_WORDS: &[&str] = &[concat!("ses", "sion"), concat!("ses", "sions")];

/// A tracked file: its path from the root with `/`, and its text if it has any.
struct File {
    path: String,
    text: Option<String>,
}

impl File {
    fn is(&self, extensions: &[&str]) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| extensions.iter().any(|known| e == *known))
    }

    /// The text of a source file with comments and the insides of literals blanked, line by line.
    fn code(&self) -> String {
        code_of(self.text.as_deref().unwrap_or_default())
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.as_deref().unwrap_or_default().lines().enumerate().map(|(i, line)| (i + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of the files that belong to the project: what git tracks or would track, else the whole tree without what a
/// build leaves behind.
fn paths() -> Vec<String> {
    let git = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    if let Ok(output) = git
        && output.status.success()
        && !output.stdout.is_empty()
    {
        let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
        return listed
            .split_terminator('\0')
            .filter(|p| root().join(p).is_file())
            .map(String::from)
            .collect();
    }
    let mut found = Vec::new();
    let mut open = vec![root().to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = slashed(path.strip_prefix(root()).expect("beneath the root"));
            if path.is_dir() && !["target", ".git", "tests/models/files"].contains(&name.as_str()) {
                open.push(path);
            } else if path.is_file() {
                found.push(name);
            }
        }
    }
    found
}

fn slashed(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let read = |path: String| {
        let bytes = std::fs::read(root().join(&path)).unwrap_or_default();
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
        File { path, text }
    };
    let mut files: Vec<File> = paths().into_iter().map(read).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
});

fn rust_files() -> impl Iterator<Item = &'static File> {
    FILES.iter().filter(|file| file.is(&["rs"]))
}

/// Every folder with a file of the project somewhere beneath it, as `a/b/`.
fn folders() -> BTreeSet<&'static str> {
    FILES.iter().flat_map(|file| file.path.match_indices('/').map(|(at, _)| &file.path[..=at])).collect()
}

fn text_of(path: &str) -> &'static str {
    let file = FILES.iter().find(|file| file.path == path);
    file.unwrap_or_else(|| panic!("there is no {path}")).text.as_deref().expect("it is text")
}

/// Blanks comments, strings and character literals; every line keeps its number.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let before = bytes[..at].iter().rev().take_while(|byte| is_word(**byte)).count();
        // `b` and `c` may stand before the `r` of a raw string.
        let in_word = before > 1 || (before == 1 && !matches!(bytes[at - 1], b'b' | b'c'));
        let end = at + skipped(&bytes[at..], in_word);
        let blank = end > at;
        let end = end.max(at + 1);
        if blank {
            code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    String::from_utf8(code).expect("whole characters were blanked")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes a comment or literal at the start of `rest` takes; 0 where there is none.
fn skipped(rest: &[u8], in_word: bool) -> usize {
    let find = |from: usize, end: &[u8]| {
        let tail = &rest[from..];
        tail.windows(end.len()).position(|w| w == end).map_or(rest.len(), |p| from + p + end.len())
    };
    match rest {
        [b'/', b'/', ..] => find(2, b"\n") - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest),
        [b'r', ..] if !in_word => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0;
            }
            find(2 + hashes, &[b"\"".as_slice(), &b"#".repeat(hashes)].concat())
        }
        // A lifetime has no closing quote after one character; an escape is always a character literal.
        [b'\'', b'\\', _, ..] => find(3, b"'"),
        [b'\'', first, ..] => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// The length of a block comment; they nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string literal with its quotes.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The words of an identifier, lower case: `IoManager` and `io_manager` are `io` and `manager`.
fn words_of(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in identifier.chars() {
        if character == '_' || character.is_uppercase() {
            words.push(String::new());
        }
        if character != '_' {
            words.last_mut().expect("never empty").extend(character.to_lowercase());
        }
    }
    words
}

/// The identifiers and numbers of a line.
fn tokens(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|token| !token.is_empty())
}

#[track_caller]
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let check = |text: &str, code: &str| assert_eq!(code_of(text), code, "{text}");
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", &format!("a {} e", " ".repeat(17)));
    check(r#"f("x \" y", z)"#, "f(        , z)");
    check("f(r#\"x \" y\"#, z)", "f(          , z)");
    check("f(br\"\\\", z)", "f(b    , z)");
    check("'a' 'b: '\\'' c", "    'b:      c");
    check("'é' x", "     x");
    check("for \"open", "for      ");
    assert_eq!(words_of("IoManager"), ["", "io", "manager"]);
    assert_eq!(words_of("io_manager"), ["io", "manager"]);
}

#[test]
fn source_files_are_short() {
    let sources = FILES.iter().filter(|file| file.is(&["rs", "py"]));
    let long = sources.map(|file| (file.lines().count(), file)).filter(|(lines, _)| *lines > MAX_LINES);
    assert_none(&long.map(|(lines, file)| format!("{} has {lines} lines", file.path)).collect::<Vec<_>>());
}

#[test]
fn lines_hold_no_tab_and_end_without_blanks() {
    let mut problems = Vec::new();
    for file in FILES.iter().filter(|file| file.is(&["rs", "py", "toml"]) || file.path == ".ci/run") {
        for (number, line) in file.lines() {
            if line.contains('\t') || line.ends_with(' ') {
                problems.push(format!("{}:{number}: a tab, or blanks at the end", file.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn public_text_speaks_of_the_project_alone() {
    let mut problems = Vec::new();
    for file in FILES
        .iter()
        .filter(|f| f.is(&["rs", "py", "md", "toml", "json", "c", "h", "sh"]) || f.path == ".ci/run")
    {
        for (number, line) in file.lines() {
            let lower = line.to_lowercase();
            let phrase = UNWELCOME.iter().find(|phrase| lower.contains(*phrase));
            let word = tokens(&lower).find(|token| UNWELCOME_WORDS.contains(token));
            if let Some(found) = phrase.copied().or(word) {
                problems.push(format!("{}:{number}: {found:?}", file.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn modules_and_types_say_what_they_are_for() {
    let vague = |name: &str| words_of(name).iter().any(|word| VAGUE.contains(&word.as_str()));
    let mut problems = Vec::new();
    for file in rust_files() {
        let path = file.path.trim_end_matches(".rs");
        if path.split('/').any(vague) {
            problems.push(format!("{}: a vague name", file.path));
        }
        for (number, line) in file.code().lines().enumerate() {
            let names: Vec<&str> = tokens(line).collect();
            for pair in names.windows(2) {
                if ["mod", "struct", "enum", "trait", "type", "union"].contains(&pair[0]) && vague(pair[1]) {
                    problems.push(format!("{}:{}: {} is a vague name", file.path, number + 1, pair[1]));
                }
            }
        }
    }
    assert_none(&problems);
}

/// The files of the crates' sources that stand for a folder: a crate's root, `mod.rs`, or `name.rs` beside `name/`.
#[test]
fn crates_and_module_folders_say_what_they_hold() {
    let folders = folders();
    let mut problems = Vec::new();
    for file in rust_files().filter(|file| file.path.starts_with("src/") || file.path.contains("/src/")) {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let beside = format!("{}/", file.path.trim_end_matches(".rs"));
        let stands_for_folder =
            ["mod.rs", "lib.rs", "main.rs"].contains(&name) || folders.contains(beside.as_str());
        let first =
            file.lines().map(|(_, line)| line.trim()).find(|line| !line.is_empty()).unwrap_or_default();
        if stands_for_folder && !first.starts_with("//!") {
            problems.push(format!("{} does not begin with its documentation (`//!`)", file.path));
        }
    }
    assert_none(&problems);
}

#[test]
fn backends_are_named_by_their_owner_alone() {
    let mut problems = Vec::new();
    for file in rust_files() {
        for (number, line) in file.code().lines().enumerate() {
            for (name, owner) in OWNED {
                let named =
                    line.match_indices(name).any(|(at, _)| at == 0 || !is_word(line.as_bytes()[at - 1]));
                if named && !file.path.starts_with(owner) {
                    problems.push(format!("{}:{}: only {owner} may name {name}", file.path, number + 1));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn unsafe_code_has_its_place_and_its_reason() {
    let mut problems = Vec::new();
    for file in rust_files() {
        let placed =
            UNSAFE_FOLDERS.iter().any(|folder| file.path.starts_with(folder)) || file.path.contains("/ffi/");
        let code = file.code();
        let lines: Vec<&str> = file.text.as_deref().unwrap_or_default().lines().collect();
        for (index, line) in code.lines().enumerate() {
            if !tokens(line).any(|token| token == "unsafe") {
                continue;
            }
            if !placed {
                problems.push(format!("{}:{}: unsafe code has no place here", file.path, index + 1));
            }
            let opens = ["unsafe {", "unsafe impl"].iter().any(|form| line.contains(form))
                || line.trim_end().ends_with("unsafe");
            let reason =
                lines[index.saturating_sub(SAFETY_LINES)..=index].iter().any(|l| l.contains("SAFETY:"));
            if opens && !reason {
                problems.push(format!("{}:{}: no SAFETY: reason above", file.path, index + 1));
            }
        }
    }
    assert_none(&problems);
}

/// The targets of a page's links and images, with their lines; code is left out.
fn links(file: &'static File) -> Vec<(usize, &'static str)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (number, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for prose in line.split('`').step_by(2) {
            // Link text may itself be code, so that a target can begin a piece of prose.
            for target in prose.match_indices("](").filter_map(|(at, _)| prose[at + 2..].split(')').next()) {
                links.push((number + 1, target.split_whitespace().next().unwrap_or_default()));
            }
        }
    }
    links
}

#[test]
fn links_between_pages_resolve() {
    let mut problems = Vec::new();
    for file in FILES.iter().filter(|file| file.is(&["md"])) {
        let folder = root().join(&file.path).parent().map(PathBuf::from).unwrap_or_default();
        for (number, target) in links(file) {
            if target.starts_with("http://")
                || target.starts_with("https://")
                || target.starts_with("mailto:")
            {
                continue;
            }
            let (page, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if page.is_empty() { root().join(&file.path) } else { folder.join(page) };
            let found = path.exists() && (heading.is_empty() || headings(&path).contains(heading));
            if !found {
                problems.push(format!("{}:{number}: {target:?} leads nowhere", file.path));
            }
        }
    }
    assert_none(&problems);
}

/// The anchors of a page's headings: lower case, blanks as hyphens, other signs dropped.
fn headings(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |title: &str| -> String {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
    };
    titles.map(anchor).collect()
}

/// The pieces of a page that stand in code spans, and the words of its code blocks.
fn code_spans(text: &'static str) -> Vec<&'static str> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            spans.extend(line.split_whitespace());
        } else {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    spans
}

#[test]
fn the_architecture_page_names_what_there_is_and_nothing_else() {
    let page = text_of("ARCHITECTURE.md");
    let crates: BTreeSet<String> = FILES
        .iter()
        .filter(|file| file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml"))
        .filter_map(|file| {
            let manifest: toml::Table = file.text.as_deref()?.parse().expect("a manifest is TOML");
            Some(manifest.get("package")?.get("name")?.as_str()?.to_string())
        })
        .collect();
    let folders = folders();
    let spans = code_spans(page);
    let mut problems = Vec::new();
    for name in &crates {
        if !spans.contains(&name.as_str()) {
            problems.push(format!("crate `{name}` is not named"));
        }
    }
    for folder in folders.iter().filter(|f| f.matches('/').count() == 1 && !f.starts_with('.')) {
        if !spans.contains(folder) {
            problems.push(format!("folder `{folder}` is not named"));
        }
    }
    for span in spans {
        let is_path =
            span.chars().all(|c| c.is_alphanumeric() || "/_-.".contains(c)) && !span.starts_with('/');
        let is_file = ["rs", "md", "toml", "py", "json"].iter().any(|e| span.ends_with(&format!(".{e}")));
        let in_tree = |path: &str| path == span || path.ends_with(&format!("/{span}"));
        let missing = if is_path && span.ends_with('/') {
            !folders.iter().any(|folder| in_tree(folder))
        } else if is_path && is_file && span.contains('/') {
            !FILES.iter().any(|file| in_tree(&file.path))
        } else {
            span.starts_with("fornax-") && is_path && !span.contains('/') && !crates.contains(span)
        };
        if missing {
            problems.push(format!("`{span}` is named and does not exist"));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_toolchain_is_not_pinned_and_the_lock_file_is_tracked() {
    let has = |name: &str| FILES.iter().any(|file| file.path == name);
    assert!(has("Cargo.lock"), "Cargo.lock is not tracked");
    let pins = FILES
        .iter()
        .filter(|file| file.path.rsplit('/').next().is_some_and(|n| n.starts_with("rust-toolchain")));
    assert_none(&pins.map(|file| format!("{} pins a toolchain", file.path)).collect::<Vec<_>>());
}

#[test]
fn the_check_script_runs_the_tests_as_the_readme_says() {
    let command = "cargo test --workspace";
    for path in ["README.md", ".ci/run"] {
        assert!(text_of(path).contains(command), "{path} does not run the tests with `{command}`");
    }
}

#[test]
fn the_models_manifest_and_the_reference_arrays_agree() {
    let manifest: serde_json::Value =
        serde_json::from_str(text_of("tests/models/manifest.json")).expect("the manifest is JSON");
    let is_digest = |value: &serde_json::Value| {
        value.as_str().is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let models = manifest["models"].as_array().expect("a list of models");
    let mut listed = BTreeSet::new();
    let mut problems = Vec::new();
    for model in models {
        let id = model["id"].as_str().expect("a model has an id");
        let package = &manifest["packages"][model["package"].as_str().unwrap_or_default()];
        if !is_digest(&model["sha256"]) || !is_digest(&package["sha256"]) || !package["version"].is_string() {
            problems.push(format!("{id}: its package and its sha256 are not pinned"));
        }
        if model["tolerance"].as_f64().is_none_or(|tolerance| !(0.0..1e-3).contains(&tolerance)) {
            problems.push(format!("{id}: tolerance {} is none", model["tolerance"]));
        }
        for case in model["cases"].as_array().expect("a list of cases") {
            for key in ["inputs_file", "outputs_file"] {
                listed.insert(format!("tests/models/reference/{}", case[key].as_str().unwrap_or_default()));
            }
        }
    }
    let arrays =
        FILES.iter().filter(|file| file.path.starts_with("tests/models/reference/") && file.is(&["npz"]));
    let present: BTreeSet<String> = arrays.map(|file| file.path.clone()).collect();
    problems.extend(listed.difference(&present).map(|path| format!("{path} is listed and not there")));
    problems.extend(present.difference(&listed).map(|path| format!("{path} is there and not listed")));
    assert_none(&problems);
}
