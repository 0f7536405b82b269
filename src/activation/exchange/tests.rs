use proptest::prelude::*;

use super::*;
use crate::activation::confirmation::check_digit;

fn numbers(groups: u64, size: usize, seed: u64) -> String {
    (0..groups)
        .map(|g| {
            let body = format!("{:0width$}", (seed * 31 + g * 7919) % 10u64.pow(size as u32 - 1), width = size - 1);
            format!("{body}{}", check_digit(&body))
        })
        .collect()
}

fn iid(seed: u64) -> InstallationId {
    InstallationId::parse(&numbers(9, 7, seed)).expect("63 digits")
}

fn cid(seed: u64) -> ConfirmationId {
    ConfirmationId::parse(&numbers(8, 6, seed)).expect("48 digits")
}

fn machine(n: u64) -> MachineName {
    format!("R101-{n:02}").parse().expect("a name")
}

fn product() -> ProductRef {
    ProductRef { activation_id: "a-b-c".into(), partial_key: "7HKMQ".into() }
}

fn row(n: u64, with_cid: bool) -> ExchangeRow {
    let cid = with_cid.then(|| cid(n));
    ExchangeRow { machine: machine(n), product: product(), iid: iid(n), cid, title: "Windows 11 Education".into() }
}

/// PCs 1 to 9 have reported.
fn known(id: &InstallationId) -> Vec<KnownInstallation> {
    (1..10).filter(|n| iid(*n) == *id).map(|n| KnownInstallation { machine: machine(n), product: product() }).collect()
}

fn faults(text: &str) -> Vec<(usize, Option<Column>, Why)> {
    read_confirmations(text, known).refused.into_iter().map(|f| (f.line, f.column, f.why)).collect()
}

#[test]
fn the_table_as_it_is_written() {
    let mut odd = row(2, true);
    odd.title = "=HYPERLINK(\"x\")".into();
    insta::assert_snapshot!(write_csv(&[row(1, false), odd], Separator::Comma).replace("\r\n", "\n"));
}

fn pending(n: u64, iid: InstallationId, extended_product_id: Option<&str>) -> PendingRow {
    let row = ExchangeRow { iid, ..row(n, true) };
    PendingRow { row, room: "r101".parse().ok(), extended_product_id: extended_product_id.map(str::to_owned) }
}

#[test]
fn the_forms_for_telephone_and_service() {
    let short = InstallationId::parse(&numbers(9, 6, 3)).expect("54 digits");
    let rows = [pending(1, iid(1), Some("03612-00000")), pending(2, iid(2), None), pending(3, short, Some("x"))];
    insta::assert_snapshot!(export(&rows[..1], ExportFormat::Text, Language::De).text);
    let service = export(&rows, ExportFormat::ActivationWs, Language::En);
    insta::assert_snapshot!(service.text);
    assert_eq!((service.rows, service.not_possible.len()), (1, 2));
    let digits = cid(1).expose()[..6].to_owned();
    for format in [ExportFormat::Csv, ExportFormat::Text, ExportFormat::ActivationWs] {
        let text = export(&rows, format, Language::En).text;
        assert!(text.contains("R101-01") && !text.contains(&digits), "{text}");
    }
}

#[test]
fn what_a_pc_said_cannot_steer_a_terminal() {
    let mut hostile = pending(1, iid(1), None);
    hostile.row.product = ProductRef { activation_id: "\u{1b}[2Ja\nb".into(), partial_key: "\rX".into() };
    hostile.row.title = String::new();
    let text = export(&[hostile], ExportFormat::Text, Language::En).text;
    assert!(text.contains("??2Ja?b") && !text.contains(['\u{1b}', '\r']), "{text:?}");
}

#[test]
fn what_is_written_is_read_back() {
    let rows: Vec<ExchangeRow> = (1..9).map(|n| row(n, n != 4)).collect();
    for separator in [Separator::Comma, Separator::Semicolon] {
        let result = read_confirmations(&write_csv(&rows, separator), known);
        assert_eq!((result.refused, result.warnings, result.open), (vec![], vec![], 1));
        let read: Vec<_> = result.accepted.iter().map(|r| (r.at.line, r.machine.clone(), r.cid.clone())).collect();
        let written: Vec<_> = (1..9).filter(|n| *n != 4).map(|n| (n as usize + 1, machine(n), cid(n))).collect();
        assert_eq!(read, written);
    }
}

#[test]
fn the_order_of_columns_and_their_names_are_free() {
    let text = format!(
        "\u{feff}ConfirmationId;Note;Installation ID;Fully-Qualified_Domain Name\r\n{};x;{};r101-03.schule.example\r\n",
        cid(3).groups().collect::<Vec<_>>().join(" "),
        iid(3).groups().collect::<Vec<_>>().join(" - "),
    );
    let result = read_confirmations(&text, known);
    assert_eq!(result.refused, []);
    assert_eq!(result.accepted.len(), 1);
    assert_eq!(result.accepted[0].product, product());
}

#[test]
fn what_is_wrong_is_named_with_line_and_column() {
    let header = "machine,iid,cid";
    let one = |machine: &str, iid: &str, cid: &str| faults(&format!("{header}\n{machine},{iid},{cid}\n"));
    let (i, c) = (iid(1).digits().to_owned(), cid(1).expose().to_owned());
    assert_eq!(one("R101-01", &i, &c), []);
    assert_eq!(one("R101-01", &i[1..], &c), [(2, Some(Column::InstallationId), Why::DigitCount(62))]);
    assert_eq!(one("R101-01", &i, &c[1..]), [(2, Some(Column::ConfirmationId), Why::DigitCount(47))]);
    assert_eq!(one("R101-01", "\"1,23457E+62\"", &c), [(2, Some(Column::InstallationId), Why::Rounded)]);
    assert_eq!(one("R101-01", "", &c), [(2, Some(Column::InstallationId), Why::Empty)]);
    assert_eq!(one("R101-01", &i, "abc"), [(2, Some(Column::ConfirmationId), Why::NotDigits)]);
    assert_eq!(one("not a name", &i, &c), [(2, Some(Column::Machine), Why::NotAName)]);
    let owner = machine(1);
    assert_eq!(one("R101-02", &i, &c), [(2, Some(Column::Machine), Why::OtherMachine { owner })]);
    let stranger = iid(77).digits().to_owned();
    assert_eq!(one("R101-02", &stranger, &c), [(2, Some(Column::InstallationId), Why::UnknownInstallation)]);
    let typo = format!("{}{}", if i.starts_with('1') { '2' } else { '1' }, &i[1..]);
    assert_eq!(one("R101-01", &typo, &c), [(2, Some(Column::InstallationId), Why::CheckDigits)]);
    assert_eq!(faults("a,b\n1,2\n").len(), 2, "neither of the needed columns");
    assert_eq!(faults(" \n"), [(1, None, Why::EmptyFile)]);
    let cut_off = format!("{header}\nR101-01,{i},{c}\nR101-02,\"{i}\n");
    assert_eq!(faults(&cut_off), [(3, None, Why::UnclosedQuote)]);
    assert!(read_confirmations(&cut_off, known).accepted.is_empty(), "a cut off file is refused as a whole");
    let other_key = format!("iid,cid,partial_key\n{i},{c},XXXXX\n");
    assert_eq!(faults(&other_key), [(2, Some(Column::ActivationId), Why::OtherProduct)]);
}

#[test]
fn an_unreported_pc_needs_a_whole_row() {
    let text = write_csv(&[row(77, true)], Separator::Comma);
    assert_eq!(read_confirmations(&text, known).accepted.len(), 1);
}

#[test]
fn the_check_digits_of_a_confirmation_id_only_warn() {
    let digits = cid(1).expose().to_owned();
    let last = digits.as_bytes()[47];
    let odd = format!("{}{}", &digits[..47], if last == b'9' { '0' } else { '9' });
    let result = read_confirmations(&format!("iid,cid\n{},{odd}\n", iid(1).digits()), known);
    assert_eq!((result.accepted.len(), result.refused.len()), (1, 0));
    let fault = result.warnings.first().expect("a warning");
    assert_eq!(fault.why, Why::CheckDigits);
    for language in [Language::En, Language::De] {
        assert!(!fault.text(language).contains(&odd[..6]));
    }
}

#[test]
fn one_installation_id_under_two_pcs_is_an_alarm() {
    let both = |id: &InstallationId| {
        [1, 2]
            .map(|n| KnownInstallation { machine: machine(n), product: product() })
            .into_iter()
            .filter(|_| *id == iid(1))
            .collect()
    };
    let stored = read_confirmations(&write_csv(&[row(1, true)], Separator::Comma), both);
    assert_eq!((stored.accepted.len(), stored.refused.len()), (1, 0));
    assert!(stored.warnings[0].is_alarm(), "{}", stored.warnings[0]);
    let unnamed = format!("iid,cid\n{},{}\n", iid(1).digits(), cid(1).expose());
    let for_both = read_confirmations(&unnamed, both);
    assert_eq!(for_both.accepted.iter().map(|row| row.machine.clone()).collect::<Vec<_>>(), [machine(1), machine(2)]);
    assert_eq!(for_both.warnings.len(), 1);
    let in_file = [ExchangeRow { machine: machine(78), ..row(77, true) }, row(77, true)];
    let result = read_confirmations(&write_csv(&in_file, Separator::Comma), known);
    assert_eq!((result.accepted.len(), result.refused.len(), result.warnings.len()), (2, 0, 2));
    assert!(result.warnings.iter().all(RowFault::is_alarm));
}

#[test]
fn the_same_row_twice_counts_once_and_a_contradiction_not_at_all() {
    let twice = read_confirmations(&write_csv(&[row(1, true), row(1, true)], Separator::Comma), known);
    assert_eq!((twice.accepted.len(), twice.refused.len()), (1, 0));
    let other = ExchangeRow { cid: Some(cid(2)), ..row(1, true) };
    let against = read_confirmations(&write_csv(&[row(1, true), other], Separator::Comma), known);
    assert_eq!(against.accepted, []);
    let lines: Vec<_> = against.refused.iter().map(|f| (f.line, f.why.clone())).collect();
    assert_eq!(lines, [(2, Why::Contradiction { line: 3 }), (3, Why::Contradiction { line: 2 })]);
}

#[test]
fn nothing_that_is_printed_shows_a_confirmation_id() {
    let result = read_confirmations(&write_csv(&[row(1, true)], Separator::Comma), known);
    let digits = cid(1).expose().to_owned();
    for shown in [format!("{:?}", row(1, true)), format!("{result:?}")] {
        assert!(!shown.contains(&digits[..6]), "{shown}");
    }
}

#[test]
fn rows_of_pcs_that_nobody_knows_are_refused_by_name() {
    let rows = [row(1, true), row(77, true), row(78, true)];
    let mut result = read_confirmations(&write_csv(&rows, Separator::Comma), known);
    result.refuse_strangers(|name| *name == machine(78));
    let accepted: Vec<_> = result.accepted.iter().map(|row| row.machine.clone()).collect();
    assert_eq!(accepted, [machine(1), machine(78)]);
    let refused: Vec<_> = result.refused.iter().map(|f| (f.line, f.character, f.column, f.why.clone())).collect();
    assert_eq!(refused, [(3, 1, Some(Column::Machine), Why::UnknownMachine { machine: machine(77) })]);
}

#[test]
fn tables_without_a_header_or_with_a_foreign_one() {
    let (i, c) = (iid(1).digits().to_owned(), cid(1).expose().to_owned());
    let read = |text: &str| {
        let result = read_confirmations(text, known);
        let rows: Vec<_> = result.accepted.iter().map(|row| (row.machine.clone(), row.product.clone())).collect();
        (rows, result.refused.into_iter().map(|f| f.why).collect::<Vec<_>>())
    };
    let good = (vec![(machine(1), product())], vec![]);
    assert_eq!(read(&format!("{c}\t{i}\n")), good);
    assert_eq!(read(&format!("Stand: 3.4., Raum 101\n\nRechner|Nummer|Antwort\nr101-01|{i}|{c}\n")), good);
    assert_eq!(read(&format!("Gerät;Installationskennung;Bestätigungskennung;Preis\nR101-01;{i};{c};1,50\n")), good);
    let mixed = format!("{i},Halle,R101-01,{c}\n{},Halle,R101-05,{}\n", iid(2).digits(), cid(2).expose());
    let owner = machine(2);
    assert_eq!(read(&mixed), (good.0.clone(), vec![Why::OtherMachine { owner }]));
}

#[test]
fn every_fault_has_words_in_both_languages_and_a_name() {
    let all = [
        Why::TooLarge,
        Why::TooManyRows,
        Why::EmptyFile,
        Why::Workbook,
        Why::NotInEncoding(Encoding::Utf16Le),
        Why::UnknownEncoding,
        Why::Control(0),
        Why::CutOff,
        Why::NotXml,
        Why::DocumentType,
        Why::Entity,
        Why::TooDeep,
        Why::NoInstallation,
        Why::UnknownMachine { machine: machine(1) },
    ];
    let lines: Vec<String> = all
        .into_iter()
        .map(|why| {
            let fault = Position { line: 2, character: 3 }.fault(why);
            format!("{}\n  {}\n  {}", fault.why.name(), fault.text(Language::En), fault.text(Language::De))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_confirmations(&bytes, known);
    }

    #[test]
    fn no_text_panics(text in "(machine|iid|cid|[\"';,=\n0-9a-zß\u{feff} -]){0,80}") {
        let _ = read_confirmations(&text, known);
    }

    #[test]
    fn no_damage_to_a_good_table_panics_or_slips_through(at in 0usize..600, with in "[\"';,=\n0-9ß]{1,3}") {
        let good = write_csv(&[row(1, true), row(2, true)], Separator::Comma);
        let at = at % good.len();
        let damaged = format!("{}{with}{}", &good[..at], &good[at..]);
        for accepted in read_confirmations(&damaged, known).accepted {
            // An inserted character can not turn one pair into another.
            prop_assert!((1..3).any(|n| accepted.iid == iid(n) && accepted.cid == cid(n)));
        }
    }
}
