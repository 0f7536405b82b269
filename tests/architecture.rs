//! Arrows between modules point down only, and the architecture page names every module.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up; a module may use its own layer and those below it.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &["activation", "boot", "calendar", "clock", "job", "profile", "progress", "room", "secret"]),
    ("cores", &["dhcp", "dns", "image", "tftp"]),
    ("io", &["boot_env", "disk", "net", "packs", "store"]),
    ("servers and agent", &["agent", "dhcp_server", "http", "night", "tftp_server"]),
    ("sim", &["sim"]),
    ("composition", &["serve"]),
    ("rehearsal", &["rehearsal"]),
    ("cli", &["cli"]),
];

/// Domain types that a lower layer may name although they live in a higher one: the pure vocabulary of images, which
/// profiles, plans and facts speak.
const VOCABULARY: &[(&str, &str)] =
    &[("profile", "image"), ("activation", "image"), ("job", "image"), ("boot", "image")];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, modules)| modules.contains(&module))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(src()).expect("inside src");
    let first = inside.components().next().expect("a component").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn modules() -> BTreeMap<String, Vec<PathBuf>> {
    let mut files = Vec::new();
    sources(&src(), &mut files);
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        modules.entry(module_of(&file)).or_default().push(file);
    }
    modules.remove("lib");
    modules.remove("main");
    modules
}

/// The modules of ours that a source text uses, its tests left out.
fn used(text: &str) -> Vec<String> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut out = Vec::new();
    for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let name: String = line[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                out.push(name);
            }
        }
    }
    out
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        let from = layer(&module).unwrap_or_else(|| panic!("module {module} has no layer in tests/architecture.rs"));
        for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
            for to in used(&fs::read_to_string(file).expect("a source file")) {
                let Some(target) = layer(&to) else { continue };
                if target > from && !VOCABULARY.contains(&(module.as_str(), to.as_str())) {
                    wrong.push(format!("{}: {module} uses {to}, which lies above it", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forbidden_arrows_are_seen() {
    assert_eq!(used("use crate::store::Store;\nlet x = crate::http::tls::pin();"), ["store", "http"]);
    assert!(layer("room") < layer("store") && layer("store") < layer("cli"));
}

#[test]
fn only_its_own_part_knows_a_library() {
    let owners = [
        ("rusqlite", "store"),
        ("axum", "http"),
        ("serde_saphyr", "profile"),
        ("clap", "cli"),
        ("hickory_proto", "dns"),
    ];
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            for (library, owner) in owners {
                if module != owner && text.contains(&format!("{library}::")) {
                    wrong.push(format!("{} uses {library}, which belongs to {owner}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = fs::read_to_string(src().join("../docs/architecture.md")).expect("docs/architecture.md");
    let missing: Vec<String> =
        modules().into_keys().filter(|module| !page.contains(&format!("**{module}**"))).collect();
    assert!(missing.is_empty(), "docs/architecture.md says nothing about {missing:?}");
    let gone: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- **")?.split("**").next())
        .filter(|name| !modules().contains_key(*name))
        .collect();
    assert!(gone.is_empty(), "docs/architecture.md describes modules that do not exist: {gone:?}");
}
