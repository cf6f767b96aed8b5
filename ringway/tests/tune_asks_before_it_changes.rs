//! `ringway tune` shows what it would change, changes it only with a yes, and puts it back.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Folder, answer, errors, ringway};

/// A folder that stands for a host with two cores and a queue that is too short.
fn host() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let root = folder.file("meminfo", "").parent().unwrap().join("root");
    let files = [
        ("proc/sys/net/core/somaxconn", "128\n"),
        ("proc/sys/fs/nr_open", "1048576\n"),
        ("proc/self/limits", "Max open files unlimited\nMax locked memory unlimited\n"),
        ("proc/meminfo", "MemTotal: 8000000 kB\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
    ];
    for (path, text) in files {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    (folder, root)
}

fn tree(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            tree(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    tree(root, &mut files);
    files
}

#[test]
fn check_apply_and_revert() {
    let (_folder, root) = host();
    let at = root.to_str().unwrap();
    let before = files(&root);
    let output = ringway(&["tune", "check", "--root", at, "--connections", "50000"]);
    let text = answer(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("examined for 50000 connections\n1. net.core.somaxconn is 128"),
        "{text}"
    );
    assert!(text.contains("(loses connections or data)\n   why: "), "{text}");

    let output = ringway(&["tune", "apply", "--root", at, "--connections", "50000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(answer(&output).contains("proc/sys/net/core/somaxconn from 128 to 16384"));
    assert_eq!(errors(&output), "error: nothing was changed; --yes does what is shown\n");
    assert_eq!(files(&root), before);

    let output = ringway(&["tune", "apply", "--root", at, "--connections", "50000", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(answer(&output).contains("2 values and files were written"), "{}", answer(&output));
    assert!(root.join("etc/sysctl.d/90-ringway.conf").is_file());
    let output = ringway(&["tune", "check", "--root", at, "--connections", "50000"]);
    assert_eq!(output.status.code(), Some(0), "{}", answer(&output));
    assert!(answer(&output).contains("Nothing here will hurt."), "{}", answer(&output));
    let output = ringway(&["tune", "apply", "--root", at, "--connections", "50000"]);
    assert_eq!(answer(&output), "There is nothing to change.\n");
    assert_eq!(output.status.code(), Some(0));

    let output = ringway(&["tune", "revert", "--root", at]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(files(&root), before);
    let output = ringway(&["tune", "revert", "--root", at, "--connections", "50000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).starts_with("error: nothing was applied here"), "{output:?}");
}

#[test]
fn what_was_changed_since_is_reported_and_kept() {
    let (_folder, root) = host();
    let at = root.to_str().unwrap();
    let before = files(&root);
    assert_eq!(ringway(&["tune", "apply", "--root", at, "--yes"]).status.code(), Some(0));
    fs::write(root.join("etc/sysctl.d/90-ringway.conf"), "# mine\n").unwrap();
    let output = ringway(&["tune", "revert", "--root", at]);
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(
        said.contains("90-ringway.conf was changed since it was applied; left alone"),
        "{said}"
    );
    let output = ringway(&["tune", "revert", "--root", at, "--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert_eq!(files(&root), before);
}

#[test]
fn a_setting_can_be_left_out() {
    let (_folder, root) = host();
    let before = files(&root);
    let tune = |except: &str| {
        let root = root.to_str().unwrap();
        ringway(&["tune", "apply", "--root", root, "--yes", "--except", except])
    };
    let output = tune("net.core.somaxconn");
    assert_eq!(answer(&output), "There is nothing to change.\n");
    let output = tune("net.core.somaxcon");
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("there is no setting net.core.somaxcon;"), "{output:?}");
    assert_eq!(files(&root), before);
}

#[test]
fn programs_get_json_of_every_setting() {
    let (_folder, root) = host();
    let output = ringway(&["tune", "check", "--json", "--root", root.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&answer(&output)).unwrap();
    assert_eq!((&report["version"], &report["connections"]), (&1.into(), &100_000.into()));
    assert_eq!(report["healthy"], false);
    let settings = report["settings"].as_array().unwrap();
    let worst = &settings[0];
    assert_eq!(worst["id"], "net.core.somaxconn");
    assert_eq!((&worst["state"], &worst["current"]), (&"hurts".into(), &"128".into()));
    for setting in settings {
        for key in ["id", "state", "reason", "effect", "effect_source"] {
            assert!(setting[key].as_str().is_some_and(|text| !text.is_empty()), "{setting}");
        }
    }
}

#[test]
fn the_doctor_lists_what_tune_knows_and_says_nothing_twice() {
    let folder = Folder::new();
    let file = folder.file("a.json", common::MINIMAL);
    let output = ringway(&["doctor", "--config", file.to_str().unwrap(), "--connections", "90000"]);
    let told = answer(&output);
    let check = answer(&ringway(&["tune", "check", "--json", "--connections", "90000"]));
    let check: serde_json::Value = serde_json::from_str(&check).unwrap();
    for setting in check["settings"].as_array().unwrap() {
        let name = setting["id"].as_str().unwrap();
        // Where the doctor has a row of its own, it is in other words.
        let own = ["LimitNOFILE", "kernel.io_uring_disabled"];
        if setting["state"] == "hurts" && !own.contains(&name) {
            assert_eq!(told.matches(&format!(". {name} is ")).count(), 1, "{name}: {told}");
        }
        if setting["state"] != "hurts" {
            assert!(!told.contains(&format!(". {name} is ")), "{name}: {told}");
        }
    }
    let pains: Vec<usize> = told
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|line| {
            let pains = ["(stops the server)", "(loses connections or data)", "(costs something)"];
            pains.iter().position(|pain| line.ends_with(pain))
        })
        .collect();
    assert!(pains.is_sorted(), "{told}");
}
