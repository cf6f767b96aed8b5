//! Goal: the repository keeps its own rules.
//! Method: reads every file that git tracks, as text.

use std::path::{Path, PathBuf};
use std::process::Command;

const CODE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

fn files() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is there");
    assert!(listed.status.success(), "git ls-files failed");
    let names = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let read = |name: &str| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some(File { path: name.to_owned(), text })
    };
    let files: Vec<File> = names.lines().filter_map(read).collect();
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Lines before the unit tests.
fn code_lines(file: &File) -> usize {
    file.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn fail_if_any(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_and_lines_stay_short() {
    let mut found = Vec::new();
    for file in rust_files() {
        let lines = code_lines(&file);
        if lines > CODE_LINES_MAX {
            found.push(format!("{}: {lines} lines of code, {CODE_LINES_MAX} at most", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            // A literal that cannot be broken is left alone.
            if columns > COLUMNS_MAX && !line.contains('"') {
                found.push(format!("{}:{}: {columns} columns", file.path, number + 1));
            }
        }
    }
    fail_if_any("too long", &found);
}

#[test]
fn functions_end_in_time() {
    let mut found = Vec::new();
    for file in rust_files() {
        let lines: Vec<&str> = file.text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start();
            let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn "]
                .iter()
                .any(|start| words.starts_with(start));
            if is_function && !words.ends_with(';') && !words.ends_with('}') {
                let pad = " ".repeat(indent);
                // A signature over several lines may have no body, in a trait.
                let end = (at + 1..lines.len()).find(|&end| {
                    let is_bare =
                        lines[end].starts_with(&format!("{pad})")) && lines[end].ends_with(';');
                    is_bare || lines[end] == format!("{pad}}}")
                });
                if let Some(end) = end {
                    if end - at > FUNCTION_LINES_MAX {
                        let length = end - at;
                        found.push(format!("{}:{}: {length} lines", file.path, at + 1));
                    }
                    at = end;
                }
            }
            at += 1;
        }
    }
    fail_if_any("functions of more than 70 lines", &found);
}

#[test]
fn unsafe_is_in_one_crate() {
    let mut found = Vec::new();
    for file in rust_files() {
        let is_here = file.path.starts_with("shard/") || file.path.ends_with("tidy.rs");
        for (number, line) in file.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !is_here && (code.contains("unsafe {") || code.contains("unsafe fn")) {
                found.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    fail_if_any("unsafe outside shard/", &found);
}

#[test]
fn engines_and_formats_have_no_world() {
    const BANNED: [&str; 8] = [
        "std::net::Tcp",
        "std::fs",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "Mutex",
        "RwLock",
        "async fn",
    ];
    let mut found = Vec::new();
    for file in rust_files() {
        let is_pure = file.path.contains("/engine/") || file.path.starts_with("protocol/src/");
        if !is_pure {
            continue;
        }
        for (number, line) in file.text.lines().enumerate().take(code_lines(&file)) {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(banned) = BANNED.iter().find(|banned| code.contains(**banned)) {
                found.push(format!("{}:{}: {banned}", file.path, number + 1));
            }
        }
    }
    fail_if_any("clocks, sockets, locks or threads where decisions are made", &found);
}

#[test]
fn tiers_do_not_know_each_other() {
    let allowed: [(&str, &[&str]); 6] = [
        ("protocol", &[]),
        ("shard", &["protocol"]),
        ("gateway", &["protocol", "shard"]),
        ("router", &["protocol"]),
        ("persistence", &["protocol"]),
        ("tuning", &[]),
    ];
    for (tier, may) in allowed {
        let manifest = std::fs::read_to_string(root().join(tier).join("Cargo.toml"))
            .expect("each tier has a manifest");
        let dependencies =
            manifest.split("[dependencies]").nth(1).unwrap_or_default().split("\n[").next();
        for line in dependencies.unwrap_or_default().lines() {
            for other in
                ["protocol", "shard", "gateway", "router", "persistence", "tuning", "ringway"]
            {
                let names = line.starts_with(&format!("{other}.workspace"));
                assert!(!names || may.contains(&other), "{tier} depends on {other}");
            }
        }
    }
}

#[test]
fn nothing_is_left_undone() {
    let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME", "XX".to_owned() + "X"];
    let macros = ["todo".to_owned() + "!(", "unimplemented".to_owned() + "!("];
    let ignored = "#[".to_owned() + "ignore";
    let mut found = Vec::new();
    for file in rust_files() {
        for (number, line) in file.text.lines().enumerate() {
            let is_word = words
                .iter()
                .any(|word| line.split(|c: char| !c.is_alphanumeric()).any(|one| one == word));
            let is_macro = macros.iter().any(|one| line.contains(one));
            if is_word || is_macro || line.trim_start().starts_with(&ignored) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    fail_if_any("left undone, or not run", &found);
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing: Vec<String> = rust_files()
        .iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| file.path.clone())
        .collect();
    fail_if_any("files without a first paragraph", &missing);
}

#[test]
fn documents_point_at_what_exists() {
    let mut found = Vec::new();
    for file in files() {
        if !file.path.ends_with(".md") {
            continue;
        }
        let folder = root().join(&file.path);
        let folder = folder.parent().expect("a file is in a folder");
        for part in file.text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            let is_local = !target.is_empty() && !target.contains("://");
            if is_local && !folder.join(target).exists() {
                found.push(format!("{}: {target}", file.path));
            }
        }
    }
    fail_if_any("links that lead nowhere", &found);
}
