use super::*;

fn server() -> ScriptServer {
    ScriptServer {
        base_url: "http://10.1.0.5:8080".to_owned(),
        agent_url: "https://10.1.0.5:8443".to_owned(),
        pin: "9f86d081884c7d65".to_owned(),
        language: Language::En,
    }
}

fn mac() -> Mac {
    "52:54:00:12:34:56".parse().unwrap()
}

fn environment(environment: BootEnvironment, language: Language) -> Script {
    let ticket = RunTicket { run: 17, language };
    Script::Environment { machine: "R101-01".parse().unwrap(), environment, ticket }
}

#[test]
fn scripts_read_as_meant() {
    for (name, script) in [
        ("linux", environment(BootEnvironment::Linux, Language::De)),
        ("winpe", environment(BootEnvironment::Winpe, Language::En)),
        ("idle", Script::Idle { machine: "R101-01".parse().unwrap() }),
        ("stranger", Script::Stranger),
    ] {
        let rendered = render(&script, &server(), mac()).unwrap();
        assert!(rendered.starts_with("#!ipxe\n"), "{name}: iPXE knows a script by its first line");
        assert!(rendered.is_ascii(), "{name}: firmware consoles have no umlauts");
        insta::assert_snapshot!(name, rendered);
    }
}

#[test]
fn winpe_files_read_as_meant() {
    let start = start_parameters(&server(), &RunTicket { run: 17, language: Language::De }, mac()).unwrap();
    let ini = klonwerk_ini(&start).unwrap();
    let winpeshl = winpeshl().unwrap();
    for text in [&ini, &winpeshl] {
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count(), "WinPE wants CR LF: {text:?}");
    }
    insta::assert_snapshot!("winpe-files", format!("{winpeshl}-----\n{ini}").replace('\r', ""));
    assert_eq!(StartParameters::from_ini(&ini), Ok(start));
    // winpeshl.exe takes commands of at most 250 characters (winpe-boot, Microsoft's reference).
    assert!(winpeshl.lines().all(|line| line.len() < 250));
}

#[test]
fn the_kernel_gets_the_start_parameters() {
    let script = environment(BootEnvironment::Linux, Language::De);
    let rendered = render(&script, &server(), mac()).unwrap();
    let kernel = rendered.lines().find(|line| line.starts_with("kernel ")).unwrap();
    let start = StartParameters::from_command_line(kernel).unwrap();
    assert_eq!((start.run, start.mac, start.language), (17, mac(), Language::De));
    assert_eq!((start.server, start.pin), (server().agent_url, server().pin));
}

#[test]
fn every_jump_has_its_label() {
    for script in [
        environment(BootEnvironment::Linux, Language::De),
        environment(BootEnvironment::Winpe, Language::De),
        Script::Stranger,
    ] {
        let rendered = render(&script, &server(), mac()).unwrap();
        for line in rendered.lines() {
            let Some((_, label)) = line.split_once("goto ") else { continue };
            let label = label.split(' ').next().unwrap();
            assert!(rendered.lines().any(|l| l == format!(":{label}")), "{label} in\n{rendered}");
        }
    }
}

#[test]
fn facts_cannot_carry_commands() {
    let script = environment(BootEnvironment::Linux, Language::En);
    for bad in ["http://a b", "http://a\nshell", "http://${uuid}", "http://{{a}}", "", "http://a;b", "http://a||shell"]
    {
        for spoil in [
            |server: &mut ScriptServer, bad: &str| server.base_url = bad.to_owned(),
            |server: &mut ScriptServer, bad: &str| server.agent_url = bad.to_owned(),
            |server: &mut ScriptServer, bad: &str| server.pin = bad.to_owned(),
        ] {
            let mut server = server();
            spoil(&mut server, bad);
            let rendered = render(&script, &server, mac());
            assert!(matches!(rendered, Err(ScriptError::Unfit { .. })), "{bad:?}: {rendered:?}");
        }
    }
}

#[test]
fn leftovers_are_errors() {
    let nothing = || context! {};
    assert!(matches!(fill("t", "a {{ b }}", nothing()), Err(ScriptError::Template { .. })));
    assert!(
        matches!(fill("t", "a ${netX/mac} b\nc", nothing()), Err(ScriptError::Leftover { leftover, .. }) if leftover == "${netX/mac} b")
    );
    assert!(matches!(fill("t", "a ${uuid", nothing()), Err(ScriptError::Leftover { .. })));
    assert!(matches!(fill("t", "{{ x }}", context! { x => "{{ y" }), Err(ScriptError::Leftover { .. })));
    assert!(fill("t", "a ${uuid} ${tries}", nothing()).is_ok());
}
