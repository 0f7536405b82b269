use proptest::prelude::*;

use super::*;

/// As little work as Argon2 allows.
const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

fn passphrase(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn sealed(content: &[u8]) -> Vec<u8> {
    let mut writer =
        SealedWriter::new(Vec::new(), &passphrase("correct horse"), CHEAP, content.len() as u64).expect("begun");
    writer.write_all(content).expect("written");
    writer.finish().expect("ended")
}

fn open(bytes: &[u8], text: &str) -> Result<Vec<u8>, SealedError> {
    let mut reader = SealedReader::new(bytes, bytes.len() as u64, &passphrase(text))?;
    let mut content = vec![0; usize::try_from(reader.content_bytes()).expect("small")];
    reader.fill(&mut content)?;
    if reader.some(&mut [0])? != 0 {
        return Err(SealedError::Damaged { what: "more than it said" });
    }
    Ok(content)
}

#[test]
fn what_goes_in_comes_out_whatever_its_length() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
        let content: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let file = sealed(&content);
        assert_eq!(file.len() as u64, HEADER as u64 + length as u64 + chunks(length as u64) * 16);
        assert_eq!(open(&file, "correct horse").expect("opened"), content, "{length}");
        // Nothing of it is readable.
        assert!(length < 64 || !file.windows(32).any(|part| part == &content[..32]));
    }
}

#[test]
fn each_fault_is_told_apart() {
    let file = sealed(&[7; 2 * CHUNK]);
    let of = |bytes: &[u8]| open(bytes, "correct horse").expect_err("refused");
    assert!(matches!(open(&file, "incorrect horse"), Err(SealedError::WrongPassphrase)));
    assert!(matches!(of(b""), SealedError::NotABackup));
    assert!(matches!(of(&[b'x'; 500]), SealedError::NotABackup));
    assert!(matches!(of(&file[..40]), SealedError::Truncated { found: 40, .. }));
    // Cut anywhere, between two chunks too.
    for length in [HEADER, HEADER + 1, HEADER + CHUNK + TAG, file.len() - 1] {
        assert!(matches!(of(&file[..length]), SealedError::Truncated { .. }), "{length}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(matches!(of(&longer), SealedError::Damaged { .. }));
    // A damaged header is not taken for a wrong passphrase.
    for at in [12, 30, 45, 65, 80, 90] {
        let mut damaged = file.clone();
        damaged[at] ^= 4;
        assert!(matches!(of(&damaged), SealedError::Damaged { what: "its header" }), "{at}");
    }
    let mut newer = file.clone();
    newer[8] = 2;
    let sum = checksum(&newer[..SUMMED]);
    newer[SUMMED..HEADER].copy_from_slice(&sum);
    assert!(matches!(of(&newer), SealedError::Newer { found: 2 }));
    // Two chunks that change places.
    let mut swapped = file[..HEADER].to_vec();
    swapped.extend_from_slice(&file[HEADER + CHUNK + TAG..]);
    swapped.extend_from_slice(&file[HEADER..HEADER + CHUNK + TAG]);
    assert!(matches!(of(&swapped), SealedError::Damaged { what: "its content" }));
}

#[test]
fn a_header_that_asks_for_too_much_is_refused_before_any_work() {
    let file = sealed(b"x");
    for (at, value) in [(12, u32::MAX), (12, 0), (16, u32::MAX), (20, u32::MAX), (68, u32::MAX)] {
        let mut costly = file.clone();
        costly[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let sum = checksum(&costly[..SUMMED]);
        costly[SUMMED..HEADER].copy_from_slice(&sum);
        assert!(matches!(open(&costly, "correct horse"), Err(SealedError::Damaged { .. })), "{at} {value}");
    }
}

#[test]
fn a_writer_keeps_to_the_length_that_it_announced() {
    for length in [3, 5] {
        let mut writer = SealedWriter::new(Vec::new(), &passphrase("p"), CHEAP, 4).expect("begun");
        writer.write_all(&[1; 5][..length]).expect("written");
        assert!(writer.finish().is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_change_goes_unnoticed(content in prop::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, bit in 0u8..8) {
        let file = sealed(&content);
        prop_assert_eq!(&open(&file, "correct horse").expect("opened"), &content);
        let mut changed = file.clone();
        changed[at.index(file.len())] ^= 1 << bit;
        prop_assert!(open(&changed, "correct horse").is_err());
        prop_assert!(open(&file[..at.index(file.len())], "correct horse").is_err());
    }

    #[test]
    fn no_bytes_break_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..400), plausible: bool, said: u64) {
        if plausible && bytes.len() >= HEADER {
            bytes[..8].copy_from_slice(MAGIC);
            bytes[8..12].copy_from_slice(&[1, 0, 0, 0]);
            bytes[12..24].copy_from_slice(&[8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
            bytes[66..72].fill(0);
            let sum = checksum(&bytes[..SUMMED]);
            bytes[SUMMED..HEADER].copy_from_slice(&sum);
        }
        prop_assert!(open(&bytes, "x").is_err());
        // A length that the caller has wrong is an error too.
        let _ = SealedReader::new(bytes.as_slice(), said, &passphrase("x")).map(|mut reader| reader.fill(&mut [0; 10]));
    }
}
