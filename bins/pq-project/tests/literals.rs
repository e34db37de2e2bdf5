//! Nobody but `project-files` says where a file of the project lies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use project_files::CATALOG;

/// Crates that may name these files: the one that owns the names, and the trainer, which writes a run's own files and knows
/// nothing of projects.
const OWNERS: [&str; 2] = ["crates/project-files", "crates/vlm-lora"];
/// Folders of a project that are no part of a file's name in the catalog.
const FOLDERS: [&str; 4] = ["manual_uploads", "user_feedback", "drift_reports", "performance_metrics"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            let name = entry.file_name();
            if !["tests", "benches", "fuzz", "target", "assets", "examples"]
                .iter()
                .any(|skipped| name == *skipped)
            {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && !path.to_string_lossy().ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

/// The names of files and folders that only the layout may spell.
fn names() -> Vec<&'static str> {
    let files = CATALOG.iter().filter_map(|entry| entry.path.rsplit('/').next());
    let plain = files.filter(|name| !name.contains('<') && *name != "README.md" && *name != "report.html");
    plain.chain(FOLDERS).collect()
}

/// The string literals of Rust source up to its tests, each with its line; comments and attributes hold none that count.
fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines().take_while(|line| line.trim() != "#[cfg(test)]")) {
        let line = line.trim_start();
        if line.starts_with("//") || line.starts_with("#[") {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find('"') {
            let Some(length) = rest[start + 1..].find('"') else { break };
            found.push((number, rest[start + 1..start + 1 + length].to_owned()));
            rest = &rest[start + length + 2..];
        }
    }
    found
}

/// Whether a literal is a path or a part of one that ends in `name`; words around a name are a message.
fn is_path(literal: &str, name: &str) -> bool {
    literal == name || (literal.ends_with(&format!("/{name}")) && !literal.contains(' ')) || {
        FOLDERS.contains(&name) && literal.split('/').any(|part| part == name) && !literal.contains(' ')
    }
}

#[test]
fn no_path_of_a_contract_stands_outside_its_owner() {
    let mut files = Vec::new();
    for folder in ["crates", "bins"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 200, "{} files are too few to be all", files.len());
    let names = names();
    let mut strays = Vec::new();
    for path in files {
        let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        if OWNERS.iter().any(|owner| relative.starts_with(&format!("{owner}/")))
            || relative.contains("pq-testing")
        {
            continue;
        }
        // The overview names files by their place in the catalog.
        if relative.starts_with("bins/pq-project/src/files.rs") {
            continue;
        }
        for (line, literal) in literals(&std::fs::read_to_string(&path).unwrap()) {
            if let Some(name) = names.iter().find(|name| is_path(&literal, name)) {
                strays.push(format!(
                    "{relative}:{line}: \"{literal}\" spells `{name}`: ask `project_files::Layout`"
                ));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

#[test]
fn the_check_sees_paths_and_passes_over_messages() {
    let source = "// \"run.json\"\nlet a = dir.join(\"run.json\");\nlet b = \"x/labels.json\";\nlet c = \"`run.json` is missing\";\n#[cfg(test)]\nlet d = \"splits.json\";\n";
    let names = names();
    let seen: Vec<usize> = literals(source)
        .into_iter()
        .filter(|(_, literal)| names.iter().any(|name| is_path(literal, name)))
        .map(|(line, _)| line)
        .collect();
    assert_eq!(seen, [2, 3]);
}
