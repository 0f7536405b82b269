//! `klonwerk explain`: what Windows' activation codes mean, and what to do.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::activation::codes::reading::codes_in;
use crate::activation::codes::zone::Zone;
use crate::activation::codes::{self, Class, Code, Known, Retry};
use crate::cli::output::{Output, table};

/// `klonwerk explain …`
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Codes in any form: 0xC004F038, c004f038, -1073418184, 3221549112, or a line of Windows that holds one.
    #[arg(allow_negative_numbers = true, required_unless_present = "list", value_name = "CODE")]
    codes: Vec<String>,
    /// Show every code of the table.
    #[arg(long, conflicts_with = "codes")]
    list: bool,
}

/// A code in all its forms, with what is known of it.
#[derive(Debug, Serialize)]
struct Explained {
    code: Code,
    signed: i32,
    unsigned: u32,
    /// Whether the table has it.
    known: bool,
    zone: Zone,
    classes: Vec<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    meaning: String,
    advice: String,
}

#[derive(Debug, Serialize)]
struct Explanations {
    codes: Vec<Explained>,
}

/// Runs `klonwerk explain`; tells whether there was a code and the table has each.
pub(super) fn run(args: &ExplainArgs, to: &mut Output<'_>) -> Result<bool> {
    if args.list {
        return list(to).map(|()| true);
    }
    let codes = asked(&args.codes);
    let explained: Vec<Explained> = codes.iter().map(|code| explained(*code, to)).collect();
    let good = !explained.is_empty() && explained.iter().all(|one| one.known);
    if to.json {
        to.json(&Explanations { codes: explained })?;
        return Ok(good);
    }
    if explained.is_empty() {
        // What was typed is not repeated: it may be a product key.
        to.say(
            "Darin ist kein Code. Geschrieben wird er 0xC004F038, C004F038, -1073418184 oder 3221549112; \
             alle zeigt: klonwerk explain --list",
            "There is no code in it. Write one as 0xC004F038, C004F038, -1073418184 or 3221549112; \
             all are shown by: klonwerk explain --list",
        )?;
    }
    for (at, one) in explained.iter().enumerate() {
        if at > 0 {
            writeln!(to.out)?;
        }
        show(one, to)?;
    }
    Ok(good)
}

/// The codes in what was typed. Small numbers are codes only where nothing else is said.
fn asked(words: &[String]) -> Vec<Code> {
    let found = codes_in(&words.join(" "));
    if !found.is_empty() {
        return found;
    }
    words.iter().map(|word| word.parse().ok()).collect::<Option<_>>().unwrap_or_default()
}

fn explained(code: Code, to: &Output<'_>) -> Explained {
    let known = code.known();
    let zone = Zone::of(code);
    let meaning = known.map_or_else(
        || {
            let place = zone.name(to.language);
            let (german, english) = (
                format!("Nicht in unserer Tabelle; die Quelle ist {place}."),
                format!("Not in our table; it comes from {place}."),
            );
            to.text(&german, &english).to_owned()
        },
        |known| known.meaning(to.language).to_owned(),
    );
    Explained {
        code,
        signed: code.signed(),
        unsigned: code.0,
        known: known.is_some(),
        zone,
        classes: known.as_ref().map(Known::classes).unwrap_or_default(),
        retry: known.as_ref().map(Known::retry),
        meaning,
        advice: known.map_or_else(|| Zone::advice(code, to.language), |known| known.advice(to.language).to_owned()),
    }
}

fn classes(one: &Explained, to: &Output<'_>) -> String {
    one.classes.iter().map(|class| class.text(to.language)).collect::<Vec<_>>().join(", ")
}

fn show(one: &Explained, to: &mut Output<'_>) -> Result<()> {
    writeln!(to.out, "{} ({}, {})", one.code, one.signed, one.unsigned)?;
    let mut rows = vec![
        (to.text("Bedeutung", "Meaning"), one.meaning.clone()),
        (to.text("Was tun", "What to do"), one.advice.clone()),
    ];
    if one.known {
        rows.push((to.text("Klasse", "Class"), classes(one, to)));
    }
    for (name, value) in rows {
        writeln!(to.out, "  {:<12} {value}", format!("{name}:"))?;
    }
    Ok(())
}

fn list(to: &mut Output<'_>) -> Result<()> {
    let all: Vec<Explained> = codes::all().map(|known| explained(known.code(), to)).collect();
    if to.json {
        return to.json(&Explanations { codes: all });
    }
    let mut table = table();
    table.set_header(["Code", to.text("Klasse", "Class"), to.text("Bedeutung", "Meaning")]);
    for one in &all {
        table.add_row([one.code.to_string(), classes(one, to), one.meaning.clone()]);
    }
    writeln!(to.out, "{}\n", table.trim_fmt())?;
    to.say(
        "Was dagegen zu tun ist, zeigt: klonwerk explain -- CODE",
        "What to do about one is shown by: klonwerk explain -- CODE",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Language;

    fn said(words: &[&str], language: Language, json: bool) -> (bool, String) {
        let args = ExplainArgs { codes: words.iter().map(|word| (*word).to_owned()).collect(), list: words.is_empty() };
        let mut out = Vec::new();
        let good = run(&args, &mut Output { out: &mut out, language, json }).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_code_is_explained_in_both_languages() {
        let (good, text) = said(&["-1073418184"], Language::En, false);
        assert!(good);
        insta::assert_snapshot!(text, @r"
        0xC004F038 (-1073418184, 3221549112)
          Meaning:     The KMS host has seen too few PCs.
          What to do:  It answers from 25 on; look for PCs with the same client machine ID.
          Class:       retry
        ");
        let (good, text) = said(&["Fehler:", "0xC004F035", "Der", "Dienst", "7"], Language::De, false);
        assert!(good);
        insta::assert_snapshot!(text, @r"
        0xC004F035 (-1073418187, 3221549109)
          Bedeutung:   Ein Volumenschlüssel, aber die Firmware trägt kein berechtigendes Windows des Herstellers.
          Was tun:     Der PC wurde ohne berechtigendes Windows verkauft; andere Schlüsselart verwenden.
          Klasse:      Hardware, nie von selbst erneut
        ");
    }

    #[test]
    fn what_is_unknown_gets_advice_and_is_no_success() {
        let (good, text) = said(&["C004C9FF"], Language::En, false);
        assert!(!good);
        assert!(text.contains("clearing house") && text.contains("licensing centre"), "{text}");
        let (good, text) = said(&["W269N-WFGWX-YVC9B-4J6C9-T83GX"], Language::De, false);
        assert!(!good);
        assert!(text.contains("kein Code") && !text.contains("W269N"), "{text}");
        let (good, text) = said(&["0"], Language::De, false);
        assert!(good && text.contains("slmgr endet mit 0"), "{text}");
    }

    #[test]
    fn json_holds_every_form() {
        let (good, text) = said(&["0x8007232B", "C004C9FF"], Language::En, true);
        assert!(!good);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let [first, second] = json["codes"].as_array().unwrap().as_slice() else { panic!("{json}") };
        assert_eq!(first["code"], "0x8007232B");
        assert_eq!(first["signed"], -2_147_015_893);
        assert_eq!(first["unsigned"], 2_147_951_403_u32);
        assert_eq!(first["classes"], serde_json::json!(["network", "admin"]));
        assert_eq!((&first["retry"], &first["zone"]), (&"after-change".into(), &"dns".into()));
        assert_eq!((&second["known"], &second["zone"]), (&false.into(), &"clearing-house".into()));
    }

    #[test]
    fn the_list_holds_the_table() {
        let (good, text) = said(&[], Language::De, false);
        assert!(good);
        assert!(
            text.contains("0xC004F038") && text.contains("0x80072F8F") && text.contains("nie von selbst"),
            "{text}"
        );
        let (_, json) = said(&[], Language::En, true);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["codes"].as_array().unwrap().len(), codes::all().count());
    }
}
