//! The product keys that Microsoft publishes: KMS client setup keys (GVLK) of Windows clients and of Office.
//!
//! Checked against [`GVLK_PAGE`] and [`OFFICE_GVLK_PAGE`]. Server keys are left out: no room is one.

use super::ProductKey;

/// Microsoft's page with the KMS client setup keys; shown wherever one of them is.
pub const GVLK_PAGE: &str = "https://learn.microsoft.com/windows-server/get-started/kms-client-activation-keys";

/// Microsoft's page with the setup keys of Office, Project and Visio.
pub const OFFICE_GVLK_PAGE: &str = "https://learn.microsoft.com/office/volume-license-activation/gvlks";

/// First build of each Windows that has setup keys of its own.
const WINDOWS_7: u32 = 7600;
const WINDOWS_8: u32 = 9200;
const WINDOWS_8_1: u32 = 9600;
const WINDOWS_10: u32 = 10240;
const LTSB_2016: u32 = 14393;
const LTSC_2019: u32 = 17763;
const LTSC_2021: u32 = 19044;

/// The KMS client setup keys ([`GVLK_PAGE`]): first build, the build from which on it no longer holds, edition as the
/// registry's `EditionID` names it, key. Public; they choose KMS or Active Directory and license nothing.
const GVLKS: [(u32, u32, &str, &str); 33] = [
    (WINDOWS_10, u32::MAX, "Professional", "W269N-WFGWX-YVC9B-4J6C9-T83GX"),
    (WINDOWS_10, u32::MAX, "ProfessionalN", "MH37W-N47XK-V7XM9-C7227-GCQG9"),
    (WINDOWS_10, u32::MAX, "ProfessionalWorkstation", "NRG8B-VKK3Q-CXVCJ-9G2XF-6Q84J"),
    (WINDOWS_10, u32::MAX, "ProfessionalWorkstationN", "9FNHH-K3HBT-3W4TD-6383H-6XYWF"),
    (WINDOWS_10, u32::MAX, "ProfessionalEducation", "6TP4R-GNPTD-KYYHQ-7B7DP-J447Y"),
    (WINDOWS_10, u32::MAX, "ProfessionalEducationN", "YVWGF-BXNMC-HTQYQ-CPQ99-66QFC"),
    (WINDOWS_10, u32::MAX, "Education", "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2"),
    (WINDOWS_10, u32::MAX, "EducationN", "2WH4N-8QGBV-H22JP-CT43Q-MDWWJ"),
    (WINDOWS_10, u32::MAX, "Enterprise", "NPPR9-FWDCX-D2C8J-H872K-2YT43"),
    (WINDOWS_10, u32::MAX, "EnterpriseN", "DPH2V-TTNVB-4X9Q3-TJR4H-KHJW4"),
    (WINDOWS_10, u32::MAX, "EnterpriseG", "YYVX9-NTFWV-6MDM3-9PT4T-4M68B"),
    (WINDOWS_10, u32::MAX, "EnterpriseGN", "44RPN-FTY23-9VTTB-MP9BX-T84FV"),
    (LTSC_2019, u32::MAX, "EnterpriseS", "M7XTQ-FN8P6-TTKYV-9D4CC-J462D"),
    (LTSC_2019, u32::MAX, "EnterpriseSN", "92NFX-8DJQP-P6BBQ-THF9C-7CG2H"),
    (LTSC_2021, u32::MAX, "IoTEnterpriseS", "KBN8V-HFGQ4-MGXVD-347P6-PDQGT"),
    (LTSB_2016, LTSC_2019, "EnterpriseS", "DCPHK-NFMTC-H88MJ-PFHPY-QJ4BJ"),
    (LTSB_2016, LTSC_2019, "EnterpriseSN", "QFFDN-GRT3P-VKWWX-X7T3R-8B639"),
    (WINDOWS_10, LTSB_2016, "EnterpriseS", "WNMTR-4C88C-JK8YV-HQ7T2-76DF9"),
    (WINDOWS_10, LTSB_2016, "EnterpriseSN", "2F77B-TNFGY-69QQF-B8YKP-D69TJ"),
    (WINDOWS_8_1, WINDOWS_10, "Professional", "GCRJD-8NW9H-F2CDX-CCM8D-9D6T9"),
    (WINDOWS_8_1, WINDOWS_10, "ProfessionalN", "HMCNV-VVBFX-7HMBH-CTY9B-B4FXY"),
    (WINDOWS_8_1, WINDOWS_10, "Enterprise", "MHF9N-XY6XB-WVXMC-BTDCT-MKKG7"),
    (WINDOWS_8_1, WINDOWS_10, "EnterpriseN", "TT4HM-HN7YT-62K67-RGRQJ-JFFXW"),
    (WINDOWS_8, WINDOWS_8_1, "Professional", "NG4HW-VH26C-733KW-K6F98-J8CK4"),
    (WINDOWS_8, WINDOWS_8_1, "ProfessionalN", "XCVCF-2NXM9-723PB-MHCB7-2RYQQ"),
    (WINDOWS_8, WINDOWS_8_1, "Enterprise", "32JNW-9KQ84-P47T8-D8GGY-CWCK7"),
    (WINDOWS_8, WINDOWS_8_1, "EnterpriseN", "JMNMF-RHW7P-DMY6X-RF3DR-X2BQT"),
    (WINDOWS_7, WINDOWS_8, "Professional", "FJ82H-XT6CR-J8D7P-XQJJ2-GPDD4"),
    (WINDOWS_7, WINDOWS_8, "ProfessionalN", "MRPKT-YTG23-K7D7T-X2JMM-QY7MG"),
    (WINDOWS_7, WINDOWS_8, "ProfessionalE", "W82YF-2Q76Y-63HXB-FGJG9-GF7QX"),
    (WINDOWS_7, WINDOWS_8, "Enterprise", "33PXH-7Y6KF-2VJC9-XBBR8-HVTHH"),
    (WINDOWS_7, WINDOWS_8, "EnterpriseN", "YDRBP-3D83W-TY26F-D46B2-XCKRJ"),
    (WINDOWS_7, WINDOWS_8, "EnterpriseE", "C29WB-22CC8-VJ326-GHFJW-H9DH4"),
];

/// The setup keys of Office ([`OFFICE_GVLK_PAGE`]): product, key.
const OFFICE: [(&str, &str); 14] = [
    ("Office LTSC Professional Plus 2024", "XJ2XN-FW8RK-P4HMP-DKDBV-GCVGB"),
    ("Office LTSC Professional Plus 2021", "FXYTK-NJJ8C-GB6DW-3DYQT-6F7TH"),
    ("Office Professional Plus 2019", "NMMKJ-6RK4F-KMJVX-8D9MJ-6MWKP"),
    ("Office Standard 2019", "6NWWJ-YQWMR-QKGCB-6TMB3-9D9HK"),
    ("Project Professional 2019", "B4NPR-3FKK7-T2MBV-FRQ4W-PKD2B"),
    ("Project Standard 2019", "C4F7P-NCP8C-6CQPT-MQHV9-JXD2M"),
    ("Visio Professional 2019", "9BGNQ-K37YR-RQHF2-38RQ3-7VCBB"),
    ("Visio Standard 2019", "7TQNQ-K3YQQ-3PFH7-CCPPM-X4VQ2"),
    ("Office Professional Plus 2016", "XQNVK-8JYDB-WJ9W3-YJ8YR-WFG99"),
    ("Office Standard 2016", "JNRGM-WHDWX-FJJG3-K47QV-DRTFM"),
    ("Project Professional 2016", "YG9NW-3K39V-2T3HJ-93F3Q-G83KT"),
    ("Project Standard 2016", "GNFHQ-F6YQM-KQDGJ-327XX-KQBVC"),
    ("Visio Professional 2016", "PD3PC-RHNGV-FXJ29-8JK7D-RJRJK"),
    ("Visio Standard 2016", "7WHWN-4T7MP-G96JF-G33KR-W8GF4"),
];

/// Every published key.
fn all() -> impl Iterator<Item = &'static str> {
    GVLKS.iter().map(|(_, _, _, key)| *key).chain(OFFICE.iter().map(|(_, key)| *key))
}

/// The KMS client setup key of an edition, where Microsoft publishes one: not for Home editions, and on Windows 7 for
/// Professional and Enterprise only.
pub fn gvlk(edition: &str, build: u32) -> Option<ProductKey> {
    GVLKS
        .iter()
        .find(|(from, to, name, _)| (*from..*to).contains(&build) && name.eq_ignore_ascii_case(edition))
        .and_then(|(_, _, _, key)| ProductKey::parse(key).ok())
}

/// Whether the last five characters are those of a published setup key.
pub fn is_gvlk(partial: &str) -> bool {
    all().any(|key| key.get(24..).is_some_and(|last| last.eq_ignore_ascii_case(partial)))
}

/// Whether a key is one of the published setup keys.
pub fn is_published(key: &ProductKey) -> bool {
    all().any(|published| published == key.expose())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_published_key_is_well_formed_and_reachable() {
        for (from, to, edition, text) in GVLKS {
            let key = ProductKey::parse(text).expect(text);
            assert_eq!(gvlk(edition, from), Some(key.clone()), "{edition} {from}");
            assert_eq!(gvlk(&edition.to_uppercase(), to - 1), Some(key.clone()), "{edition} {to}");
            assert!(is_gvlk(key.partial()) && is_published(&key));
            let letters_n = text.bytes().filter(|b| *b == b'N').count();
            assert_eq!(letters_n, usize::from(from >= WINDOWS_8), "keys of Windows 8 and later carry one N: {text}");
        }
        assert_eq!(gvlk("Core", 22631), None);
        assert_eq!(gvlk("Education", 7601), None);
        assert_eq!(gvlk("Professional", 6002), None);
    }

    #[test]
    fn the_keys_of_office_are_published_too() {
        let mut partials = BTreeSet::new();
        for (product, text) in OFFICE {
            let key = ProductKey::parse(text).expect(product);
            assert!(is_published(&key) && is_gvlk(&key.partial().to_lowercase()), "{product}");
            partials.insert(key.partial().to_owned());
        }
        assert_eq!(partials.len(), OFFICE.len());
        let other = ProductKey::parse("NMMKJ-6RK4F-KMJVX-8D9MJ-6MWKQ").expect("a key");
        assert!(!is_published(&other) && !is_gvlk(other.partial()));
    }
}
