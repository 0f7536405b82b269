//! `klonwerk kms` in a real network: a real name server with the record that we printed, and a host behind it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "a lab that is skipped says so, and the host speaks to the test by its output"
)]

#[path = "lab/netns.rs"]
#[expect(dead_code, reason = "this suite needs only a part of the lab")]
mod netns;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use netns::{DEADLINE, Lab, Node, Running};
use serde_json::Value;

const DNS: &str = "10.77.4.1";
const OURS: &str = "10.77.4.2";
const HOST: &str = "10.77.4.5";

/// Tells a copy of this test program that it is the host.
const ROLE: &str = "KLONWERK_TEST_ROLE";

#[test]
#[ignore = "a part of the other test, which starts it inside a namespace"]
fn play_the_host() {
    std::env::var(ROLE).expect("only for the other test");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 1688)).expect("the port");
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        println!("was sent {} bytes", bytes.len());
    }
}

fn start_host(node: &Node) -> Running {
    let mut command: Command = node.command(std::env::current_exe().expect("this program"));
    command.args(["--exact", "play_the_host", "--ignored", "--nocapture"]).env(ROLE, "host");
    let mut running = node.start(command);
    running.wait_for("the host", |line| line.contains("listening").then_some(()));
    running
}

fn start_dnsmasq(node: &Node, conf: &Path) -> Running {
    let mut command = node.command("dnsmasq");
    command.arg("--no-daemon").arg(format!("--conf-file={}", conf.display()));
    command.args(["--interface=eth0", "--bind-interfaces", "--user=root", "--pid-file=", "--log-facility=-"]);
    command.args(["--no-resolv", "--no-hosts", "--local=/example.school/"]);
    let mut running = node.start(command);
    running.wait_for("the name server", |line| line.contains("started, version").then_some(()));
    running
}

fn klonwerk(node: &Node, words: &[&str]) -> (bool, Value) {
    let output = node.run(env!("CARGO_BIN_EXE_klonwerk"), words);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.success(), said)
}

fn finding(said: &Value) -> (&str, &str) {
    let first = &said["findings"][0];
    (first["finding"].as_str().unwrap_or_default(), first["why"].as_str().unwrap_or_default())
}

#[test]
fn the_record_that_we_print_is_found_through_a_real_name_server() {
    let Some(mut lab) = Lab::new(&["dnsmasq", "unshare"]) else { return };
    let folder = tempfile::tempdir().expect("folder");
    let dns = lab.plug("dns", None, Some(&format!("{DNS}/24")));
    let host = lab.plug("kms", None, Some(&format!("{HOST}/24")));
    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let at_dns = |more: &[&str]| {
        let words = ["kms", "check", "--json", "--domain", "example.school", "--dns", DNS];
        klonwerk(&ours, &[&words[..], more].concat())
    };

    // Nothing there at all, then a name server that knows nothing of KMS.
    let conf = folder.path().join("kms.conf");
    fs::write(&conf, "").expect("conf");
    let (good, said) = at_dns(&[]);
    assert!(!good && said["findings"][0]["failure"]["reason"] == "unreachable", "{said:#}");
    let server = start_dnsmasq(&dns, &conf);
    let (good, said) = at_dns(&[]);
    assert!(!good && finding(&said).0 == "no-record", "{said:#}");
    drop(server);

    // What `kms dns` prints is dnsmasq's configuration, the comment included.
    let words = ["kms", "dns", "--domain", "example.school", "--host", "kms", "--format", "dnsmasq"];
    let record = ours.must(env!("CARGO_BIN_EXE_klonwerk"), &words);
    fs::write(&conf, &record).expect("conf");
    let server = start_dnsmasq(&dns, &conf);
    let (good, said) = at_dns(&[]);
    assert!(!good && finding(&said).0 == "no-address", "the comment said so: {said:#}");
    drop(server);
    fs::write(&conf, format!("{record}host-record=kms.example.school,{HOST}\n")).expect("conf");
    let _server = start_dnsmasq(&dns, &conf);

    // The host is on, but nothing listens; then something does.
    let (good, said) = at_dns(&[]);
    assert!(!good && finding(&said) == ("port", "closed"), "{said:#}");
    let mut listening = start_host(&host);
    let (good, said) = at_dns(&[]);
    assert!(good && said["findings"] == serde_json::json!([]), "{said:#}");
    let sent = |running: &mut Running| {
        running.wait_for("a connection", |line| Some(line.strip_prefix("was sent ")?.to_owned()))
    };
    assert_eq!(sent(&mut listening), "0 bytes");

    // The same through the system's resolver configuration, without a word about the domain.
    let resolver = folder.path().join("resolv.conf");
    fs::write(&resolver, format!("nameserver {DNS}\nsearch example.school\noptions timeout:2\n"))
        .expect("resolver file");
    let script = "mount --bind \"$1\" /etc/resolv.conf && cd \"$2\" && exec \"$3\" kms check --json";
    let (file, empty) = (resolver.display().to_string(), folder.path().display().to_string());
    let words = ["-m", "sh", "-c", script, "sh", &file, &empty, env!("CARGO_BIN_EXE_klonwerk")];
    let said: Value = serde_json::from_str(&ours.must("unshare", &words)).expect("JSON");
    assert_eq!(said["domains"], serde_json::json!(["example.school"]));
    assert_eq!(said["good"], true, "{said:#}");
    assert_eq!(sent(&mut listening), "0 bytes");

    // A firewall that drops: the host's answers find no way back.
    host.must("ip", &["route", "add", "blackhole", &format!("{OURS}/32")]);
    let (good, said) = at_dns(&["--timeout", "1s"]);
    assert!(!good && finding(&said) == ("port", "filtered"), "{said:#}");
}
