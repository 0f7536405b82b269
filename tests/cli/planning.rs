//! Plans, with and without a server; and that a dry run does nothing.

use std::fs;
use std::process::Command;

use crate::school::{Said, School, listing};

fn version_control(school: &School) -> bool {
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let run = Command::new("git").args(who).args(arguments).current_dir(school.path("profiles")).output();
        run.is_ok_and(|output| output.status.success())
    };
    git(&["init", "-q"]) && git(&["add", "."]) && git(&["commit", "-qm", "profiles"])
}

#[test]
fn a_plan_is_the_same_with_and_without_a_server_and_does_nothing() {
    let school = School::new();
    school.capture();
    let versioned = version_control(&school);

    let serving = school.serve();
    let online = school.klonwerk(&["plan", "r1", "--json"]);
    let stranger = school.klonwerk(&["plan", "r1", "--only", "R1-01,R9-09"]);
    let no_image = school.klonwerk(&["plan", "r1", "--image", "win11@7"]);
    assert_eq!(serving.stop().0, Some(0));
    assert_eq!(online.code, Some(0), "{online:?}");
    let plan = online.json();
    assert_eq!(plan["machines"].as_array().unwrap().len(), 3);
    assert_eq!(plan["profile_revision"].is_string(), versioned);

    for (said, part) in
        [(stranger, "room r1 has no machine R9-09; `klonwerk plan r1` lists them"), (no_image, "win11@7")]
    {
        assert!(said.code == Some(1) && said.err.contains(part), "{said:?}");
    }

    assert_eq!(school.klonwerk(&["plan", "r1", "--json"]).out, online.out);
    assert_eq!(school.klonwerk(&["reclone", "r1", "--dry-run", "--json"]).out, online.out);
    let mut said = String::new();
    for (language, only) in [("de", "r1-02"), ("en", "R1-01,R1-02,R1-03")] {
        let answer = school.klonwerk(&["plan", "r1", "--only", only, "--lang", language]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let first = answer.out.lines().next().unwrap();
        said += &answer.out.replacen(first, first.split(", prof").next().unwrap().split(", Prof").next().unwrap(), 1);
        said += "\n";
    }
    insta::assert_snapshot!(said);

    traced(&school);
}

/// Calls that change a file system, whatever their arguments are.
const CHANGES: [&str; 13] = [
    "creat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "symlink",
    "ftruncate",
    "truncate",
];

fn traced(school: &School) {
    let probe = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("KLONWERK_LAB").as_deref() != Ok("required"),
            "KLONWERK_LAB=required, and this test needs strace"
        );
        println!("skipped: a look at the system calls needs strace");
        return;
    }
    let before = listing(school.folder.path());
    let log = tempfile::NamedTempFile::new().unwrap();
    let watched = format!("trace=network,open,openat,openat2,write,writev,pwrite64,pwritev,{}", CHANGES.join(","));
    let program = assert_cmd::cargo::cargo_bin!("klonwerk");
    let command = school.command(&[]);
    let mut trace = Command::new("strace");
    trace.args(["-f", "-y", "-o"]).arg(log.path()).args(["-e", &watched]).arg(program);
    trace.args(["reclone", "r1", "--dry-run", "--state", "state"]).current_dir(school.folder.path());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => trace.env(name, value),
            None => trace.env_remove(name),
        };
    }
    let said = Said::of(trace.output().unwrap());
    assert!(said.code == Some(0) && said.out.contains("activations spent: 0"), "{said:?}");
    let calls = fs::read_to_string(log.path()).unwrap();
    let wrong: Vec<&str> = calls.lines().filter(|line| forbidden(line)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(calls.contains("site.yaml") && calls.contains(".kwi"), "the trace saw nothing: {calls}");
    assert_eq!(listing(school.folder.path()), before);
}

/// Whether a traced call goes to the network or changes a file. The line is `pid call(arguments) = result`.
fn forbidden(line: &str) -> bool {
    let Some((call, arguments)) = line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('(')) else {
        return false;
    };
    match call {
        "socket" => !arguments.starts_with("AF_UNIX"),
        "open" | "openat" | "openat2" => {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag));
            writes && !arguments.contains("\"/dev/null\"")
        }
        // To standard output and error, and to threads of its own: pipes, sockets, counters.
        "write" | "writev" | "pwrite64" | "pwritev" => {
            let own = ["<pipe:", "<anon_inode:", "<socket:", "<UNIX", "</dev/null>"];
            !arguments.starts_with("1<")
                && !arguments.starts_with("2<")
                && !own.iter().any(|kind| arguments.contains(kind))
        }
        _ => CHANGES.contains(&call),
    }
}

#[test]
fn the_judge_of_system_calls_sees_what_is_forbidden() {
    for line in [
        "7 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3",
        "7 socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) = 3",
        "7 openat(AT_FDCWD, \"state/x\", O_WRONLY|O_CREAT, 0666) = 3",
        "7 write(5</tmp/state/x>, \"a\", 1) = 1",
        "7 unlink(\"state/x\") = 0",
    ] {
        assert!(forbidden(line), "{line}");
    }
    for line in [
        "7 socket(AF_UNIX, SOCK_STREAM, 0) = 3",
        "7 openat(AT_FDCWD, \"state/x\", O_RDONLY|O_CLOEXEC) = 3",
        "7 write(1<pipe:[5]>, \"a\", 1) = 1",
        "7 +++ exited with 0 +++",
    ] {
        assert!(!forbidden(line), "{line}");
    }
}
