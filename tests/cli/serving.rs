//! The server as a process.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use klonwerk::image::Hash;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::school::{DEADLINE, Said, School};

/// Asks the server's health over TLS that trusts its own authority alone, and nothing that has another fingerprint.
fn health(school: &School, url: &str, pin: &str) -> String {
    let pem = fs::read(school.path("state/tls/authority.pem")).unwrap();
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item.unwrap() {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    assert_eq!(Hash::of(certificates[0].der()).to_string(), pin);
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .build();
    let agent = ureq::Agent::config_builder().tls_config(tls).proxy(None).build().new_agent();
    agent.get(format!("{url}/healthz")).call().unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn a_server_starts_is_alone_and_ends_in_peace() {
    let school = School::new();
    let serving = school.serve();
    for door in ["boot", "agents", "tftp"] {
        assert!(serving.address(door).starts_with("127.0.0.1:"), "{:?}", serving.address(door));
    }
    assert_eq!(health(&school, serving.address("agent_url"), serving.address("pin")), "ok\n");
    assert_eq!(serving.address("admin"), "state/admin.sock");
    assert!(school.path("state/admin.sock").exists());

    let second = school.klonwerk(&["serve", "--loopback"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("owner.lock is owned by a running klonwerk; stop it"), "{second:?}");

    let begin = Instant::now();
    let (code, log) = serving.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(begin.elapsed() < DEADLINE / 4, "{log}");
    assert!(!school.path("state/admin.sock").exists());
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");

    // What it left behind is enough to go on.
    let again = school.serve();
    assert_eq!(again.stop().0, Some(0));
}

#[test]
fn profiles_with_faults_are_shown_in_the_language_that_was_asked_for() {
    let school = School::new();
    fs::write(school.path("profiles/rooms/r2.yaml"), "title: Raum 2\n").unwrap();
    for command in [&["serve", "--loopback", "--lang", "de"][..], &["plan", "r1", "--lang", "de"]] {
        let said: Said = school.klonwerk(command);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("r2.yaml") && said.err.contains("Fehler"), "{said:?}");
        assert_eq!(said.out, "");
    }
}
