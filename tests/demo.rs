//! The demo as a newcomer sees it, and with a disk that real tools made.
#![cfg(target_os = "linux")]
#![cfg(test)]

#[path = "lab/ntfs.rs"]
#[expect(dead_code, reason = "a part of them is needed here")]
mod lab;
#[path = "demo/real_disk.rs"]
mod real_disk;

use std::process::Command;

use serde_json::Value;

/// Runs the demo with `more`, which must end well; its last line.
fn outcome(more: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_klonwerk")).args(["--json", "demo"]).args(more).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn whole(outcome: &Value, name: &str) -> u64 {
    outcome[name].as_u64().unwrap_or_else(|| panic!("{name}: {outcome}"))
}

/// What the second night may send: the changed leaves as they are stored, the index, and a fifth for everything else.
fn must_be_good(outcome: &Value, machines: u64) {
    for (name, wanted) in
        [("machines", machines), ("verified", machines), ("activated", machines), ("cids_issued", machines)]
    {
        assert_eq!(whole(outcome, name), wanted, "{name}: {outcome}");
    }
    assert_eq!(whole(outcome, "spent_by_recloning"), 0);
    let least = whole(outcome, "dirty_leaves_compressed") + whole(outcome, "index_bytes");
    let (one, two) = (whole(outcome, "night1_bytes"), whole(outcome, "night2_bytes"));
    assert!(two > 0 && two * 10 <= least * 12, "night two sent {two} bytes, {least} would have done");
    assert!(two < one / 5, "night two sent {two} bytes, night one {one}");
    assert!(whole(outcome, "dirtied_bytes") > 0);
    assert!(outcome["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
}

#[test]
fn the_last_line_of_json_says_how_it_went() {
    let outcome = outcome(&["--machines", "2", "--seed", "11"]);
    must_be_good(&outcome, 2);
    assert_eq!(whole(&outcome, "seed"), 11);
}

/// Every number becomes a #, but those that must not vary.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut in_number = false;
    for c in text.chars() {
        let number = c.is_ascii_digit() || (in_number && (c == ',' || c == '.'));
        match (number, in_number) {
            (true, false) => out.push('#'),
            (true, true) => {}
            (false, _) => out.push(c),
        }
        in_number = number;
    }
    out
}

#[test]
fn the_german_demo_reads_well() {
    let output = Command::new(env!("CARGO_BIN_EXE_klonwerk"))
        .args(["--lang", "de", "demo", "--machines", "2", "--seed", "12"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for sure in ["gleich dem Muster:   2 von 2", "neu abgefragt:           2 von 2", "Klonen verbraucht:  0\n"] {
        assert!(text.contains(sure), "{text}");
    }
    insta::assert_snapshot!(masked(&text));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis"), "2").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_klonwerk"))
        .args(["--lang", "en", "demo", "--keep", folder.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"), "{output:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
