//! What people read when there is nothing to show, and when something is wrong.

use crate::school::School;

const EMPTY: [&[&str]; 6] =
    [&["status"], &["runs"], &["machines", "unknown"], &["activation", "pending"], &["image", "list"], &["plan", "r1"]];

#[test]
fn an_empty_server_speaks_in_sentences() {
    let school = School::new();
    let _serving = school.serve();
    let mut said = String::new();
    for language in ["de", "en"] {
        for command in EMPTY {
            let answer = school.klonwerk(&[command, &["--lang", language]].concat());
            said += &format!("$ klonwerk {} --lang {language}\n{}{}\n", command.join(" "), answer.out, answer.err);
        }
    }
    insta::assert_snapshot!(said.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    for command in &EMPTY[..5] {
        let answer = school.klonwerk(&[command, &["--json"][..]].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        answer.json();
    }
}

#[test]
fn a_machine_that_never_told_its_hardware_says_so() {
    let school = School::new();
    let _serving = school.serve();
    let ask = |more: &[&str]| school.klonwerk(&[&["machines", "hardware"], more].concat());
    let answer = ask(&["R1-01", "--lang", "en"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.out.starts_with("R1-01 has told nothing of its hardware yet"), "{answer:?}");
    let answer = ask(&["R1-01", "--json"]);
    assert_eq!((answer.code, answer.json()), (Some(1), serde_json::json!({ "hardware": null, "identity": null })));
    let answer = ask(&["R9-01"]);
    assert!(answer.code == Some(1) && answer.err.contains("R9-01"), "{answer:?}");
}

#[test]
fn errors_say_what_to_do() {
    let school = School::new();
    let mut said = String::new();
    let mut ask = |arguments: &[&str]| {
        let answer = school.klonwerk(arguments);
        said += &format!("$ klonwerk {} → {:?}\n{}{}\n", arguments.join(" "), answer.code, answer.out, answer.err);
    };
    // Without a server.
    ask(&["status", "--lang", "de"]);
    ask(&["reclone", "r1"]);
    ask(&["plan", "r9"]);
    ask(&["plan", "r1"]);
    ask(&["plan", "Raum 1"]);
    ask(&["reclone", "r1", "--window", "soon"]);
    let serving = school.serve();
    // With one.
    ask(&["plan", "r9"]);
    ask(&["reclone", "r9"]);
    ask(&["runs", "show", "7"]);
    ask(&["machines", "token", "R9-01"]);
    ask(&["activation", "import", "nowhere.csv"]);
    drop(serving);
    insta::assert_snapshot!(said);
}

#[test]
fn the_manual_and_the_completions_know_every_command() {
    let school = School::new();
    let said = |arguments: &[&str]| school.command(arguments).output().unwrap();
    let page = String::from_utf8(said(&["man"]).stdout).unwrap();
    let script = String::from_utf8(said(&["completions", "bash"]).stdout).unwrap();
    for command in
        ["serve", "plan", "reclone", "status", "runs", "machines", "activation", "image", "agent", "check", "explain"]
    {
        assert!(page.contains(&format!("klonwerk\\-{command}(1)")), "{command}: {page}");
        assert!(script.contains(command), "{command}");
    }
    assert!(said(&["man", "--write", "pages"]).status.success());
    assert!(school.path("pages/klonwerk-runs-retry.1").exists());
}
