use proptest::prelude::*;

use super::*;

#[test]
fn signed_and_hexadecimal_forms_are_the_same_code() {
    for (signed, hex) in [
        ("-1073418124", "0xC004F074"),
        ("-1073418191", "0xC004F031"),
        ("-1073418163", "0xC004F04D"),
        ("-1073418160", "0xC004F050"),
        ("-1073418203", "0xC004F025"),
        ("-1073418135", "0xC004F069"),
        ("-1073425657", "0xC004D307"),
        ("-2147024891", "0x80070005"),
        ("-1073418184", "0xC004F038"),
    ] {
        let code: Code = signed.parse().expect(signed);
        assert_eq!(code.to_string(), hex);
        assert_eq!(hex.parse(), Ok(code));
        assert_eq!(hex.to_lowercase().parse(), Ok(code));
        assert_eq!(hex[2..].parse(), Ok(code));
        assert_eq!(code.0.to_string().parse(), Ok(code), "as WMI shows it");
    }
}

#[test]
fn other_texts_are_no_codes() {
    for text in
        ["", "-", "0x", "0xC004F0381", "C004F03", "C004F03G", "--1", "+1", "-2147483649", "4294967296", "Fehler"]
    {
        assert!(text.parse::<Code>().is_err(), "{text}");
    }
}

#[test]
fn every_row_is_whole_and_stands_once() {
    let mut seen = std::collections::BTreeSet::new();
    for line in TABLE.lines() {
        let row = parse_row(line).expect(line);
        assert_eq!(line.split('|').count(), 7, "{line}");
        assert!(row.en.iter().chain(&row.de).all(|text| text.ends_with('.')), "{line}");
        assert!(seen.insert(row.code), "{} stands twice", row.code);
        for language in [Language::En, Language::De] {
            assert!(explain(row.code, language).starts_with(&row.code.to_string()));
        }
    }
    assert!(seen.len() >= 110, "{}", seen.len());
}

#[test]
fn the_codes_that_the_hook_decides_on() {
    let info = |code: Code| code.info().map(|i| (i.class, i.retry));
    assert_eq!(info(Code::COUNT_TOO_LOW), Some((CodeClass::Retry, Retry::Later)));
    assert_eq!(info(Code::MAK_LIMIT), Some((CodeClass::Key, Retry::Never)));
    assert_eq!(info(Code::KMS_CLOCK), Some((CodeClass::Admin, Retry::Later)));
    assert_eq!(info(Code(0xC004_FFFF)), None);
    let stale: Vec<Code> =
        TABLE.lines().filter_map(parse_row).map(|row| row.code).filter(|code| code.makes_pair_stale()).collect();
    assert_eq!(stale, [Code(0xC004_F031), Code(0xC004_F07E), Code(0xC004_F07F)]);
    assert!(Code(0x8007_232B).kms_unreachable() && !Code::KMS_CLOCK.kms_unreachable());
    assert!(Code::KMS_CLOCK.clock_wrong());
}

#[test]
fn unknown_codes_name_their_source() {
    assert!(explain(Code(0xC004_C9FF), Language::En).contains("Microsoft's activation server"));
    assert!(explain(Code(0x1), Language::De).contains("nicht in unserer Tabelle"));
}

proptest! {
    #[test]
    fn every_code_survives_its_forms(value: u32) {
        let code = Code(value);
        prop_assert_eq!(code.to_string().parse(), Ok(code));
        let signed = value.cast_signed();
        if signed < 0 {
            prop_assert_eq!(signed.to_string().parse(), Ok(code));
        }
        let json = serde_json::to_string(&code).expect("a string");
        prop_assert_eq!(serde_json::from_str::<Code>(&json).expect("the same string"), code);
    }

    #[test]
    fn no_text_panics(text in ".{0,20}") {
        let _ = text.parse::<Code>();
    }
}
