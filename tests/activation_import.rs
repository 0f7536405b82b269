//! Confirmation IDs from files of any kind, through the command line and a running server: what is good is stored once, what
//! is malformed or hostile is refused with its place, and then the store is as it was.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use klonwerk::activation::confirmation::InstallationId;
use klonwerk::activation::exchange::{KnownInstallation, read_confirmations};
use proptest::prelude::*;

#[path = "lab/program.rs"]
mod program;
#[path = "activation_import/school.rs"]
mod school;

use school::*;

fn csv(rows: &[(&str, String, String)]) -> String {
    let lines: String = rows.iter().map(|(pc, iid, cid)| format!("{pc};{iid};{cid}\r\n")).collect();
    format!("PC;Installations-ID;Bestätigungs-ID\r\n{lines}")
}

fn cilx(computers: &[(&str, String, String)]) -> String {
    let computers: String = computers
        .iter()
        .map(|(pc, iid, cid)| {
            format!(
                "  <Computer Name=\"{pc}.schule.example\">\n    <Product>\n      <Sku Id=\"{PRO}\" Name=\"Windows\"/>\n      \
                 <InstallationId>{iid}</InstallationId>\n      <ConfirmationId>{cid}</ConfirmationId>\n    </Product>\n  </Computer>\n"
            )
        })
        .collect();
    format!("<?xml version=\"1.0\"?>\n<SoftwareLicensingData Version=\"3.0\">\n{computers}</SoftwareLicensingData>\n")
}

fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
}

/// Another digit, which the check digit notices.
fn typo(digits: &str) -> String {
    let other = if digits.starts_with('1') { '2' } else { '1' };
    format!("{other}{}", &digits[1..])
}

fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let good = |seed| ("R1-01", iid(seed), cid(seed));
    let bomb = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE lolz [\n<!ENTITY a \"ha\">\n<!ENTITY b \"{}\">\n]>\n<x>&b;</x>",
        "&a;".repeat(1000)
    );
    let external = "<?xml version=\"1.0\"?>\n  <!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>\n<x>&e;</x>";
    let whole = cilx(&[good(1)]);
    let cut = &whole[..whole.find("</ConfirmationId>").expect("there")];
    let mut nul = csv(&[good(1)]).into_bytes();
    let middle = nul.len() - 20;
    nul[middle..middle + 3].fill(0);
    let (short, long) = (iid(1)[1..].to_owned(), format!("{}7", cid(1)));
    let rows = [
        ("R1-01", short, cid(1)),
        ("R1-01", iid(1), long),
        ("R1-01", typo(&iid(1)), cid(1)),
        ("R1-02", iid(1), cid(1)),
        ("R1-01", iid(40), cid(1)),
        ("R1-01", "1,23457E+62".to_owned(), cid(1)),
        ("kein PC!", iid(1), cid(1)),
    ];
    let rows: Vec<(&str, String, String)> = rows.into_iter().collect();
    let stranger =
        format!("machine,activation_id,partial_key,iid,cid\nX-77,{PRO},3V66T,{},{}\n", iid(41), cid(41)).into_bytes();
    let odd = {
        let mut bytes = utf16(&csv(&[good(1)]));
        bytes.pop();
        bytes
    };
    vec![
        ("rows.csv", csv(&rows).into_bytes()),
        ("rows.cilx", cilx(&[("R1-02", iid(1), cid(1)), ("R1-01", "12-34".to_owned(), cid(1))]).into_bytes()),
        ("unknown-pc.csv", stranger),
        ("bomb.cilx", bomb.into_bytes()),
        ("external-entity.cil", external.as_bytes().to_vec()),
        ("undefined-entity.cil", format!("<x>\n<iid>{}&file;</iid></x>", iid(1)).into_bytes()),
        ("cut-off.cilx", cut.as_bytes().to_vec()),
        ("cut-off.csv", format!("{}R1-02;\"{}", csv(&[good(1)]), iid(2)).into_bytes()),
        ("nul.csv", nul),
        ("utf-16-cut.csv", odd),
        ("utf-16-bomb.cilx", utf16("<?xml version='1.0' encoding='utf-16'?><!DOCTYPE x><x/>")),
        ("latin-1-says-utf-8.cilx", latin_1("<?xml version='1.0' encoding='utf-8'?>\n<x Name='B\u{fc}ro'/>")),
        ("deep.cil", "<a>".repeat(100_000).into_bytes()),
        ("other.csv", csv(&[]).replace("Installations-ID", "x").replace("Bestätigungs-ID", "y").into_bytes()),
        ("workbook.csv", b"PK\x03\x04\x14\0\x06\0".to_vec()),
        ("empty.csv", Vec::new()),
    ]
}

#[test]
fn malformed_and_hostile_files_are_refused_with_their_places_and_leave_the_store_as_it_was() {
    let school = School::new();
    let before = school.contents();
    assert_eq!(before.len(), 12, "six installation IDs and their history: {before:#?}");
    let mut told = String::new();
    for (name, bytes) in hostile() {
        for lang in ["en", "de"] {
            let said = school.import(name, &bytes, &["--lang", lang]);
            assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{name}: {said:?}");
            School::must_not_show(&said);
            told.push_str(&format!("{name} [{lang}]\n{}", said.out));
        }
    }
    let huge = File::create(school.path("huge.csv")).expect("made");
    huge.set_len(100 << 20).expect("sparse");
    let said = school.klonwerk(&["activation", "import", "huge.csv"]);
    told.push_str(&format!("huge.csv [en]\n{}", said.out));
    assert_eq!(said.code, Some(1));
    insta::assert_snapshot!(told);
    assert_eq!(school.contents(), before);
}

#[test]
fn the_server_reads_no_file_to_its_end_that_is_too_large() {
    let school = School::new();
    let before = school.contents();
    for (length, sent) in [("Content-Length: 104857600", 0), ("Transfer-Encoding: chunked", 20usize << 20)] {
        let mut socket = UnixStream::connect(school.path("state/admin.sock")).expect("a server");
        let head =
            format!("POST /v1/activation/import?lang=de HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n\r\n");
        socket.write_all(head.as_bytes()).expect("sent");
        let chunk = vec![b'1'; 1 << 16];
        for _ in 0..sent / chunk.len() {
            // The server may have answered and hung up.
            if write!(socket, "{:x}\r\n", chunk.len()).and_then(|()| socket.write_all(&chunk)).is_err()
                || socket.write_all(b"\r\n").is_err()
            {
                break;
            }
        }
        let mut answer = Vec::new();
        // What was not read of the request resets the connection behind the answer.
        let _ = socket.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("mehr als 16 MiB"), "{length}: {answer}");
    }
    assert_eq!(school.contents(), before);
}

#[test]
fn files_of_every_kind_are_stored_once() {
    let school = School::new();
    let table = csv(&[("R1-01", iid(1), cid(1))]);
    let xml = cilx(&[("R1-02", iid(2), cid(2)), ("R2-01", iid(4), String::new())]);
    let bare = format!("{}\t{}\n", cid(3), iid(3));
    let cases = [
        ("latin-1.txt", latin_1(&table), "table", "Windows-1252"),
        ("utf-16.xml", utf16(&xml), "vamt", "UTF-16LE"),
        ("bare.cilx", bare.into_bytes(), "table", "UTF-8"),
    ];
    for (name, bytes, form, encoding) in &cases {
        let first = school.import(name, bytes, &["--json"]);
        School::must_not_show(&first);
        let first = first.json();
        assert_eq!((&first["stored"], &first["unchanged"], &first["refused"]), (&1.into(), &0.into(), &0.into()));
        let file = &first["files"][0];
        assert_eq!((file["form"].as_str(), file["encoding"].as_str()), (Some(*form), Some(*encoding)), "{first}");
    }
    let after = school.contents();
    for (name, bytes, ..) in &cases {
        let again = school.import(name, bytes, &[]);
        assert_eq!(again.code, Some(0));
        assert_eq!(again.out, "All confirmation IDs (1) were stored already; nothing was changed.\n");
    }
    assert_eq!(school.contents(), after, "the same files again change nothing");

    // Good rows are stored although another one is refused; all files get their turn.
    let mixed = csv(&[("R2-01", iid(4), cid(4)), ("R1-03", iid(3)[1..].to_owned(), cid(3))]);
    fs::write(school.path("mixed.csv"), mixed).expect("written");
    let said = school.klonwerk(&["activation", "import", "mixed.csv", "bare.cilx", "--lang", "de"]);
    assert_eq!(said.code, Some(1));
    insta::assert_snapshot!(said.out, @r"
    mixed.csv: abgelehnt: Zeile 3:7, installation_id: 62 Ziffern statt 54/63
    Bestätigungs-IDs gespeichert: 1, schon vorhanden: 1, abgelehnt: 1.
    ");
}

#[test]
fn one_installation_id_under_two_pcs_is_stored_with_an_alarm() {
    let school = School::new();
    let said = school.import("ids.csv", csv(&[("R2-02", iid(5), cid(5))]).as_bytes(), &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    insta::assert_snapshot!(said.out, @r"
    note: line 2:1, installation_id: ALARM: several PCs have this installation ID (R2-02, R2-03); look at their firmware's serial numbers
    Confirmation IDs stored: 1, refused: 0.
    ");
    let known = school.contents().into_iter().filter(|row| row.starts_with("confirmation: ") && row.contains("known"));
    assert_eq!(known.count(), 1);
}

#[test]
fn installation_ids_go_out_in_every_form_and_never_with_a_confirmation_id() {
    let school = School::new();
    school.import("ids.csv", csv(&[("R1-01", iid(1), cid(1))]).as_bytes(), &[]);
    let export = |arguments: &[&str]| {
        let said = school.klonwerk(&[&["activation", "export"], arguments].concat());
        School::must_not_show(&said);
        said
    };
    assert_eq!(export(&[]).out, school.klonwerk(&["activation", "pending"]).out);
    assert_eq!(export(&[]).out.lines().count(), 6);
    let all = export(&["--all", "--room", "r1"]);
    assert!(all.out.contains("R1-01") && !all.out.contains("R2-01"), "{all:?}");
    assert!(!export(&["--room", "r1"]).out.contains("R1-01"), "its confirmation ID is there");

    let text = export(&["--format", "text", "--room", "r1", "--lang", "de"]);
    let block = text.out.split("\n\n").next().expect("a block");
    assert!(block.starts_with("R1-02 (Raum r1)\n  Produkt: Windows 10/11 Pro"), "{block}");
    let service = export(&["--format", "activationws", "--json", "--room", "r1"]).json();
    assert_eq!((&service["rows"], service["not_possible"].as_array().map(Vec::len)), (&0.into(), Some(2)), "{service}");
    let file = export(&["--format", "text", "--output", "ids.txt", "--room", "r1"]);
    assert_eq!(file.out, "Installation IDs in ids.txt: 2\n");
    let nowhere = export(&["--room", "r7"]);
    assert!(nowhere.code != Some(0) && nowhere.err.contains("r1, r2"), "{nowhere:?}");
    assert!(export(&["--format", "cilx"]).err.contains("csv, text and activationws"));
}

#[test]
fn forgetting_is_shown_beforehand_and_written_down() {
    let school = School::new();
    school.import("ids.csv", csv(&[("R1-01", iid(1), cid(1))]).as_bytes(), &[]);
    let before = school.contents();
    let forget = |arguments: &[&str]| {
        let said = school.klonwerk(&[&["activation", "forget", "r1-01"], arguments].concat());
        School::must_not_show(&said);
        assert!(!said.out.contains(&iid(1)), "{said:?}");
        said
    };
    let unsaid = forget(&[]);
    assert!(unsaid.code != Some(0) && unsaid.err.contains("--all"), "{unsaid:?}");
    let dry = forget(&["--all", "--dry-run", "--lang", "de"]);
    assert!(
        dry.out.contains("Bestätigungs-ID gespeichert") && dry.out.ends_with("Nichts wurde geändert.\n"),
        "{dry:?}"
    );
    assert_eq!(forget(&["--iid", &iid(2)]).code, Some(1), "another PC's installation ID");
    assert_eq!(school.contents(), before);

    let done = forget(&["--iid", &iid(1), "--json"]).json();
    assert_eq!((&done["dry_run"], &done["forgotten"][0]["state"]), (&false.into(), &"known".into()), "{done}");
    let after = school.contents();
    assert!(!after.iter().any(|row| row.contains("R1-01") && row.starts_with("confirmation")), "{after:#?}");
    let audit: Vec<&String> = after.iter().filter(|row| row.starts_with("audit")).collect();
    assert_eq!(audit.len(), 2, "one line for the import, one for this");
    assert!(after.iter().any(|row| row.starts_with("forgotten")), "what Microsoft has counted stays counted");
    assert_eq!(forget(&["--all"]).out, "Nothing of the kind is stored for r1-01.\n");
}

fn known(id: &InstallationId) -> Vec<KnownInstallation> {
    (1..4)
        .filter(|seed| id.digits() == iid(*seed))
        .map(|seed| KnownInstallation { machine: machine(&format!("R1-0{seed}")), product: product() })
        .collect()
}

/// A valid file in one of its forms.
fn valid(form: usize) -> Vec<u8> {
    let rows: Vec<_> =
        (1..4).map(|seed| (["R1-01", "R1-02", "R1-03"][seed as usize - 1], iid(seed), cid(seed))).collect();
    match form {
        0 => csv(&rows).into_bytes(),
        1 => latin_1(&csv(&rows)),
        2 => utf16(&csv(&rows)),
        3 => cilx(&rows).into_bytes(),
        _ => utf16(&cilx(&rows)),
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Cut(usize),
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || 0usize..4000;
    let words = ["<", ">", "&", "\"", ";", "\n", "<!--", "<![CDATA[", "<!DOCTYPE", "</Product>", "<Iid>", "0", "\0"];
    prop_oneof![
        at().prop_map(Damage::Cut),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), proptest::sample::select(words.to_vec()))
            .prop_map(|(at, word)| Damage::Insert(at, word.as_bytes().to_vec())),
        (at(), 1usize..60).prop_map(|(at, length)| Damage::Remove(at, length)),
        (at(), 1usize..200).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let length = bytes.len().max(1);
        match damage {
            Damage::Cut(at) => bytes.truncate(length - at % length),
            Damage::Set(at, byte) => bytes.iter_mut().skip(at % length).take(1).for_each(|b| *b = *byte),
            Damage::Insert(at, word) => {
                let at = at % length;
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), word.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = (at % length).min(bytes.len());
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Damage::Repeat(at, count) => {
                let at = (at % length).min(bytes.len());
                let piece: Vec<u8> = bytes.iter().skip(at).take(*count).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damage_never_panics_never_invents_a_pc_and_always_has_a_place(
        form in 0usize..5,
        damages in proptest::collection::vec(damage(), 0..6),
    ) {
        let whole = damages.is_empty();
        let bytes = damaged(valid(form), &damages);
        let result = read_confirmations(&bytes, known);
        if whole {
            prop_assert_eq!((result.accepted.len(), result.refused.len(), result.warnings.len()), (3, 0, 0));
        }
        if result.is_refusal() {
            prop_assert!(result.accepted.is_empty());
        }
        for row in &result.accepted {
            // Nobody but the PC that reported an installation ID gets something for it.
            prop_assert!(known(&row.iid).iter().any(|owner| owner.machine == row.machine), "{:?}", row);
        }
        let lines = 2 + bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
        for fault in result.refused.iter().chain(&result.warnings) {
            prop_assert!(fault.line >= 1 && fault.character >= 1 && fault.line <= lines, "{}", fault);
        }
    }
}
