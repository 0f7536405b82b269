//! The whole server, as a school runs it: `klonwerk serve` on its real ports in a namespace, the school's own DHCP server
//! beside it, and real clients.
#![expect(clippy::print_stdout, reason = "a lab that is skipped says so")]

#[path = "lab/netns.rs"]
#[expect(dead_code, reason = "this suite needs only a part of the lab")]
mod netns;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use netns::{Lab, Node};

const OURS: &str = "10.77.3.1";
const ROUTER: &str = "10.77.3.2";
const SITE: &str = "name: Test\nlanguage: en\ntime_zone: Europe/Berlin\nserver: { address: 10.77.3.1 }\nnetwork: proxy\n\
    images:\n  win: { build: 22631, edition: Education, generalized: true, key_channel: mak }\n";
const ROOM: &str = "title: Room\nimage: win\nenvironment: linux\nidle: local\nactivation: none\nhooks: [computer-name]\nmachines:\n  \
    - { name: PC-1, mac: '52:54:00:00:03:01' }\n";
const SILENT: &str = "title: Silent\nimage: win\nenvironment: linux\nidle: silent\nactivation: none\nhooks: [computer-name]\nmachines:\n  \
    - { name: PC-2, mac: '52:54:00:00:03:02' }\n";

/// A DHCP client, as firmware or as an ordinary one; what it was given.
fn ask(node: &Node, script: &str, firmware: bool) -> String {
    let mut words =
        vec!["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "20", "-T", "1", "-s", script, "-O", "bootfile"];
    if firmware {
        words.extend(["-x", "93:0000", "-x", "94:010201", "-V", "PXEClient:Arch:00000:UNDI:002001"]);
    }
    node.must("busybox", &words)
}

#[test]
fn the_server_runs_beside_the_schools_own() {
    let Some(mut lab) = Lab::new(&["dnsmasq", "busybox", "curl"]) else { return };
    let folder = tempfile::tempdir().expect("folder");
    let (profiles, state) = (folder.path().join("profiles"), folder.path().join("state"));
    fs::create_dir_all(profiles.join("rooms")).expect("folder");
    fs::create_dir_all(state.join("boot/Boot")).expect("folder");
    fs::write(profiles.join("site.yaml"), SITE).expect("site");
    fs::write(profiles.join("rooms/r1.yaml"), ROOM).expect("room");
    fs::write(profiles.join("rooms/r2.yaml"), SILENT).expect("room");
    let loader: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    fs::write(state.join("boot/undionly.kpxe"), &loader).expect("boot file");
    fs::write(state.join("boot/Boot/BCD"), &loader[..5000]).expect("boot file");
    let script = folder.path().join("udhcpc.sh");
    fs::write(&script, "#!/bin/sh\n[ \"$1\" = bound ] && env\nexit 0\n").expect("script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("mode");
    let script = script.display().to_string();

    let ours = lab.plug("ours", None, Some(&format!("{OURS}/24")));
    let klonwerk = |words: &[&str]| {
        let mut command = ours.command(env!("CARGO_BIN_EXE_klonwerk"));
        command.args(words).arg("--profiles").arg(&profiles).arg("--state").arg(&state);
        command
    };
    let mut serving = ours.start(klonwerk(&["--json", "serve"]));
    serving.wait_for("the server", |line| line.contains("agent_url").then_some(()));

    // A PC whose room starts idle PCs from their disk at once gets the loader that does it.
    let known = lab.plug("pc1", Some("52:54:00:00:03:01"), None);
    let got = ask(&known, &script, true);
    assert!(got.contains("undionly.kpxe") && got.contains(&format!("serverid={OURS}")), "{got}");

    let router = lab.plug("router", None, Some(&format!("{ROUTER}/24")));
    let mut dnsmasq = router.command("dnsmasq");
    dnsmasq
        .args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces"])
        .args(["--user=root", "--pid-file=", "--log-dhcp", "--log-facility=-", "--no-resolv", "--no-hosts"])
        .args(["--no-ping", "--dhcp-range=10.77.3.100,10.77.3.199,1h"])
        .arg(format!("--dhcp-leasefile={}", folder.path().join("leases").display()));
    let mut routing = router.start(dnsmasq);
    routing.wait_for("router", |line| line.contains("sockets bound exclusively").then_some(()));

    // Whoever does not boot from the network, whoever nobody knows, and whoever is to get no answer, is the router's alone.
    for (name, mac, firmware) in
        [("pc4", "52:54:00:00:03:04", false), ("pc3", "52:54:00:00:03:03", true), ("pc2", "52:54:00:00:03:02", true)]
    {
        let pc = lab.plug(name, Some(mac), None);
        let got = ask(&pc, &script, firmware);
        assert!(got.contains(&format!("serverid={ROUTER}")) && !got.contains("undionly"), "{name}: {got}");
    }

    // Boot files on the real ports, under the names that clients use.
    known.address("10.77.3.60/24");
    let curl = |address: String| known.run("curl", &["-s", "--path-as-is", &address]).stdout;
    assert_eq!(curl(format!("tftp://{OURS}/undionly.kpxe")), loader);
    assert_eq!(curl(format!("tftp://{OURS}/%5CBOOT%5Cbcd")), loader[..5000]);
    assert_eq!(curl(format!("http://{OURS}/boot/undionly.kpxe")), loader);
    let idle = curl(format!("http://{OURS}/boot/ipxe/52-54-00-00-03-01.ipxe"));
    assert!(String::from_utf8_lossy(&idle).contains("sanboot"), "{idle:?}");
    let outside = known.run(
        "curl",
        &["-s", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", &format!("http://{OURS}/boot/../klonwerk.db")],
    );
    assert_eq!(outside.stdout, b"404");

    // The unknown PC is listed, and only that one.
    let list = klonwerk(&["machines", "unknown", "--lang", "en"]).output().expect("klonwerk");
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.contains("52:54:00:00:03:03"), "{text}{}", String::from_utf8_lossy(&list.stderr));
    assert!(!text.contains("52:54:00:00:03:02") && !text.contains("52:54:00:00:03:04"), "{text}");
}
