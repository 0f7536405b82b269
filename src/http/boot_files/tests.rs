use std::sync::Arc;

use axum::http::header::{self, HeaderMap, HeaderName};
use proptest::prelude::*;

use crate::boot::files::BootFile;
use crate::http::boot_files::{Selection, decoded, http_date, part, select};

fn file() -> BootFile {
    let mut file = BootFile::from_bytes("boot.wim", Arc::from(vec![1; 1000]));
    file.modified = http_date("Tue, 24 Nov 2026 02:00:00 GMT");
    file
}

fn selected(headers: &[(HeaderName, &str)]) -> Selection {
    let headers: HeaderMap = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    select(&file(), false, &headers)
}

#[test]
fn ranges_are_read_as_the_rfc_says() {
    let cases = [
        ("bytes=0-0", Selection::Part(0..1)),
        ("bytes=10-19", Selection::Part(10..20)),
        ("bytes=990-", Selection::Part(990..1000)),
        ("bytes=-10", Selection::Part(990..1000)),
        ("bytes=-2000", Selection::Part(0..1000)),
        ("bytes=990-99999999999999999999999", Selection::Part(990..1000)),
        ("bytes=1000-", Selection::OutOfRange),
        ("bytes=99999999999999999999999-", Selection::OutOfRange),
        ("bytes=-0", Selection::OutOfRange),
        ("bytes=0-1,5-6", Selection::Whole),
        ("bytes=5-4", Selection::Whole),
        ("bytes=-", Selection::Whole),
        ("bytes=+1-2", Selection::Whole),
        ("lines=1-2", Selection::Whole),
        ("", Selection::Whole),
    ];
    for (asked, selection) in cases {
        assert_eq!(part(asked, 1000), selection, "{asked}");
    }
    assert_eq!(part("bytes=0-", 0), Selection::OutOfRange);
}

#[test]
fn conditions_come_before_ranges() {
    let tag = format!("\"{}\"", file().etag);
    let weak = format!("\"other\", W/{tag}");
    let (before, at) = ("Mon, 23 Nov 2026 02:00:00 GMT", "Tue, 24 Nov 2026 02:00:00 GMT");
    let range = (header::RANGE, "bytes=0-9");
    let cases: [(&[(HeaderName, &str)], Selection); 14] = [
        (&[(header::IF_NONE_MATCH, &tag)], Selection::NotModified),
        (&[(header::IF_NONE_MATCH, &weak)], Selection::NotModified),
        (&[(header::IF_NONE_MATCH, "\"other\""), (header::IF_MODIFIED_SINCE, at)], Selection::Whole),
        (&[(header::IF_MODIFIED_SINCE, at)], Selection::NotModified),
        (&[(header::IF_MODIFIED_SINCE, before)], Selection::Whole),
        (&[(header::IF_MATCH, &tag), range.clone()], Selection::Part(0..10)),
        (&[(header::IF_MATCH, "*"), range.clone()], Selection::Part(0..10)),
        (&[(header::IF_MATCH, &weak), range.clone()], Selection::Failed),
        (&[(header::IF_UNMODIFIED_SINCE, at), range.clone()], Selection::Part(0..10)),
        (&[(header::IF_UNMODIFIED_SINCE, before), range.clone()], Selection::Failed),
        (&[(header::IF_RANGE, &tag), range.clone()], Selection::Part(0..10)),
        (&[(header::IF_RANGE, "\"other\""), range.clone()], Selection::Whole),
        (&[(header::IF_RANGE, at), range.clone()], Selection::Part(0..10)),
        (&[(header::IF_RANGE, before), range.clone()], Selection::Whole),
    ];
    for (headers, selection) in cases {
        assert_eq!(selected(headers), selection, "{headers:?}");
    }
}

#[test]
fn paths_are_decoded_or_refused() {
    assert_eq!(decoded("/Boot%5CBCD").as_deref(), Some("/Boot\\BCD"));
    assert_eq!(decoded("/a%20b").as_deref(), Some("/a b"));
    for path in ["/%", "/%4", "/%zz", "/%+1", "/%ff"] {
        assert_eq!(decoded(path), None, "{path}");
    }
}

proptest! {
    #[test]
    fn a_selected_part_is_never_empty_and_lies_within(asked in "bytes=[0-9]{0,22}-[0-9]{0,22}", len: u64) {
        if let Selection::Part(range) = part(&asked, len) {
            prop_assert!(range.start < range.end && range.end <= len);
        }
    }
}
