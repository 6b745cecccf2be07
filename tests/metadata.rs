//! Holds the dependency graph, as `cargo metadata` reports it, to `deny.toml` and to the layering of the crates.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// The crates of the workspace, and for each the crates of the workspace it may depend on, dev- and build-dependencies
/// included. A crate reaches nothing but through this table, so a layer that must not see another never does.
const LAYERS: &[(&str, &[&str])] = &[
    ("fornax-ir", &[]),
    ("fornax-runtime", &[]),
    ("fornax-codegen", &["fornax-ir", "fornax-runtime"]),
    ("fornax-compiler", &["fornax-ir", "fornax-runtime", "fornax-codegen"]),
    ("fornax-onnx", &["fornax-ir"]),
    ("fornax-derive", &[]),
    ("fornax", &["fornax-ir", "fornax-runtime", "fornax-compiler", "fornax-onnx", "fornax-derive"]),
    ("fornax-cli", &["fornax"]),
];

/// Prefixes of foreign crates that one crate of the workspace alone may name.
const OWNED: &[(&str, &str)] =
    &[("egg", "fornax-compiler"), ("cranelift", "fornax-codegen"), ("iced-x86", "fornax-codegen")];

/// What `cargo metadata` says, for every target and with dev-dependencies. `Cargo.lock` is never changed.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    // The registry's cache is enough on a machine that has built every target; another one downloads what is missing.
    let (mut text, mut error) = (None, String::new());
    for network in [&["--offline"][..], &[]] {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .args(network)
            .output()
            .expect("cargo runs");
        if output.status.success() {
            text = Some(output.stdout);
            break;
        }
        error = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    let text = text.unwrap_or_else(|| panic!("cargo metadata failed:\n{error}"));
    serde_json::from_slice(&text).expect("cargo metadata prints JSON")
});

/// The rules of `deny.toml`.
static RULES: LazyLock<toml::Table> = LazyLock::new(|| {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml"))
        .expect("deny.toml is there")
        .parse()
        .expect("deny.toml is TOML")
});

/// A list in `deny.toml`.
fn rule(section: &str, key: &str) -> &'static [toml::Value] {
    RULES[section][key].as_array().expect("a list")
}

/// A list of strings in `deny.toml`.
fn strings(section: &str, key: &str) -> BTreeSet<&'static str> {
    rule(section, key).iter().map(|entry| entry.as_str().expect("a string")).collect()
}

fn packages() -> &'static [Value] {
    METADATA["packages"].as_array().expect("a list of packages")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The packages of the workspace by name.
fn members() -> BTreeMap<&'static str, &'static Value> {
    let ids: BTreeSet<&str> = METADATA["workspace_members"]
        .as_array()
        .expect("a list of members")
        .iter()
        .map(|id| id.as_str().expect("an id"))
        .collect();
    let inside = packages().iter().filter(|package| ids.contains(text(package, "id")));
    inside.map(|package| (text(package, "name"), package)).collect()
}

/// The names of the packages that `package` declares as dependencies of any kind.
fn dependencies(package: &Value) -> impl Iterator<Item = &str> {
    package["dependencies"].as_array().expect("a list of dependencies").iter().map(|d| text(d, "name"))
}

#[track_caller]
fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// An SPDX licence expression: <https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>. `WITH` binds closest,
/// then `AND`, then `OR`; a `/` is how packages older than the rule spell `OR`.
enum Licence {
    /// A licence, with its exception if it has one, as the allow list spells it.
    Name(String),
    All(Vec<Licence>),
    Any(Vec<Licence>),
}

impl Licence {
    fn parse(expression: &str) -> Result<Self, String> {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let mut words = spaced.split_whitespace().peekable();
        let licence = Self::parse_any(&mut words)?;
        match words.next() {
            None => Ok(licence),
            Some(word) => Err(format!("{expression}: nothing may follow before {word}")),
        }
    }

    fn parse_any<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Self, String> {
        let mut terms = vec![Self::parse_all(words)?];
        while words.next_if_eq(&"OR").is_some() {
            terms.push(Self::parse_all(words)?);
        }
        Ok(Self::Any(terms))
    }

    fn parse_all<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Self, String> {
        let mut terms = vec![Self::parse_term(words)?];
        while words.next_if_eq(&"AND").is_some() {
            terms.push(Self::parse_term(words)?);
        }
        Ok(Self::All(terms))
    }

    fn parse_term<'a>(
        words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    ) -> Result<Self, String> {
        match words.next() {
            Some("(") => {
                let inner = Self::parse_any(words)?;
                words.next_if_eq(&")").map(|_| inner).ok_or_else(|| "a parenthesis is not closed".to_string())
            }
            None | Some(")" | "OR" | "AND" | "WITH") => Err("a licence is missing".to_string()),
            Some(name) if words.next_if_eq(&"WITH").is_some() => match words.next() {
                Some(exception) => Ok(Self::Name(format!("{name} WITH {exception}"))),
                None => Err("an exception is missing".to_string()),
            },
            Some(name) => Ok(Self::Name(name.to_string())),
        }
    }

    /// Whether the licences that `allowed` accepts give the rights the expression asks for.
    fn satisfied(&self, allowed: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Name(name) => allowed(name),
            Self::All(terms) => terms.iter().all(|term| term.satisfied(allowed)),
            Self::Any(terms) => terms.iter().any(|term| term.satisfied(allowed)),
        }
    }

    /// Whether the licence occurs anywhere in the expression.
    fn mentions(&self, licence: &str) -> bool {
        match self {
            Self::Name(name) => name == licence,
            Self::All(terms) | Self::Any(terms) => terms.iter().any(|term| term.mentions(licence)),
        }
    }
}

#[test]
fn licence_expressions_are_evaluated() {
    let allowed = |name: &str| ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].contains(&name);
    let check = |expression: &str| Licence::parse(expression).map(|licence| licence.satisfied(&allowed));
    for accepted in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND Zlib",
        "(GPL-3.0 OR MIT) AND Zlib",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        "GPL-3.0 AND BSL-1.0 OR Zlib",
    ] {
        assert_eq!(check(accepted), Ok(true), "{accepted}");
    }
    for refused in
        ["Apache-2.0", "MIT AND GPL-3.0", "MIT WITH LLVM-exception", "(MIT OR Zlib) AND GPL-3.0", "mit"]
    {
        assert_eq!(check(refused), Ok(false), "{refused}");
    }
    for malformed in ["", "MIT OR", "MIT Zlib", "(MIT", "MIT)", "MIT WITH", "AND MIT"] {
        assert!(check(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn every_licence_is_allowed_and_every_allowed_licence_is_used() {
    let allow = strings("licenses", "allow");
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for package in packages() {
        let name = text(package, "name");
        let Some(expression) = package["license"].as_str() else {
            problems.push(format!("{name} declares no licence"));
            continue;
        };
        let licence = match Licence::parse(expression) {
            Ok(licence) => licence,
            Err(error) => {
                problems.push(format!("{name}: {expression:?} is no licence expression: {error}"));
                continue;
            }
        };
        if !licence.satisfied(&|name| allow.contains(name)) {
            problems.push(format!("{name}: deny.toml does not allow {expression:?}"));
        }
        used.extend(allow.iter().copied().filter(|entry| licence.mentions(entry)));
    }
    problems.extend(
        allow.difference(&used).map(|entry| format!("deny.toml allows {entry:?}, which no package has")),
    );
    assert_none(problems);
}

#[test]
fn no_banned_crate_is_used() {
    let mut problems = Vec::new();
    for ban in rule("bans", "deny") {
        let (name, reason) =
            (ban["crate"].as_str().expect("a name"), ban["reason"].as_str().expect("a reason"));
        if packages().iter().any(|package| text(package, "name") == name) {
            problems.push(format!("{name} is banned: {reason}"));
        }
    }
    assert_none(problems);
}

#[test]
fn every_requirement_names_a_version() {
    assert_eq!(RULES["bans"]["wildcards"].as_str(), Some("deny"));
    let mut problems = Vec::new();
    for (name, member) in members() {
        for dependency in member["dependencies"].as_array().expect("a list of dependencies") {
            if text(dependency, "req") == "*" && dependency["path"].is_null() {
                problems.push(format!("{name} takes any version of {}", text(dependency, "name")));
            }
        }
    }
    assert_none(problems);
}

#[test]
fn every_source_is_allowed() {
    for policy in ["unknown-registry", "unknown-git"] {
        assert_eq!(RULES["sources"][policy].as_str(), Some("deny"), "{policy}");
    }
    let (registries, repositories) = (strings("sources", "allow-registry"), strings("sources", "allow-git"));
    let members = members();
    let mut problems = Vec::new();
    for package in packages() {
        let name = text(package, "name");
        let allowed = match package["source"].as_str() {
            None => members.contains_key(name),
            Some(source) => match source.split_once('+') {
                Some(("registry" | "sparse", url)) => registries.contains(url),
                Some(("git", url)) => repositories.contains(url.split(['?', '#']).next().unwrap_or(url)),
                _ => false,
            },
        };
        if !allowed {
            problems.push(format!("{name} comes from {}", package["source"]));
        }
    }
    assert_none(problems);
}

#[test]
fn crates_keep_to_their_layer() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let members = members();
    let mut problems = Vec::new();
    for name in layers.keys().filter(|name| !members.contains_key(*name)) {
        problems.push(format!("{name} has a layer and is no crate of the workspace"));
    }
    for (name, member) in &members {
        let Some(below) = layers.get(name) else {
            problems.push(format!("{name} has no layer: say in LAYERS what it may depend on"));
            continue;
        };
        for dependency in dependencies(member).filter(|d| members.contains_key(d) && !below.contains(d)) {
            problems.push(format!("{name} must not depend on {dependency}"));
        }
    }
    assert_none(problems);
}

/// The closure of the table, not only its rows: a row changed carelessly must not open a forbidden path.
#[test]
fn layers_hide_what_they_must() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let reach = |from: &'static str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            open.extend(layers[name].iter().filter(|below| seen.insert(**below)));
        }
        seen
    };
    let forbidden = [
        ("fornax-runtime", ["fornax-ir", "fornax-compiler", "fornax-codegen", "fornax-onnx"].as_slice()),
        ("fornax-onnx", &["fornax-compiler", "fornax-codegen", "fornax-runtime"]),
        ("fornax-compiler", &["fornax-onnx", "fornax"]),
        ("fornax-codegen", &["fornax-compiler", "fornax-onnx", "fornax"]),
    ];
    for (from, hidden) in forbidden {
        let seen = reach(from);
        assert!(hidden.iter().all(|name| !seen.contains(name)), "{from} reaches {seen:?}");
    }
    assert_eq!(layers["fornax-cli"], ["fornax"]);
}

#[test]
fn backends_have_one_owner() {
    let mut problems = Vec::new();
    for (name, member) in members() {
        for dependency in dependencies(member) {
            for (prefix, owner) in OWNED.iter().filter(|(prefix, _)| dependency.starts_with(prefix)) {
                if name != *owner {
                    problems
                        .push(format!("{name} depends on {dependency}; {prefix} belongs to {owner} alone"));
                }
            }
        }
    }
    assert_none(problems);
}

#[test]
fn crates_share_edition_lints_and_rust_version() {
    let mut problems = Vec::new();
    for (name, member) in members() {
        for (key, expected) in [("edition", "2024"), ("rust_version", "1.95"), ("license", "Apache-2.0")] {
            if member[key].as_str() != Some(expected) {
                problems.push(format!("{name}: {key} is {}, not {expected}", member[key]));
            }
        }
        let manifest =
            std::fs::read_to_string(text(member, "manifest_path")).expect("a crate has a manifest");
        let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
        let inherits =
            manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            problems.push(format!("{name}: the manifest lacks `lints.workspace = true`"));
        }
    }
    assert_none(problems);
}
