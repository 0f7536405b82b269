//! Tables as firmware has them, made up: no real vendor's key material.

/// A table with this signature and content, its checksum right.
pub(crate) fn table(signature: &[u8; 4], oem: &[u8; 6], name: &[u8; 8], content: &[u8]) -> Vec<u8> {
    let mut bytes = signature.to_vec();
    bytes.extend_from_slice(&u32::try_from(36 + content.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(oem);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(content);
    sign(&mut bytes);
    bytes
}

/// Makes the checksum right again.
pub(crate) fn sign(bytes: &mut [u8]) {
    bytes[9] = 0;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[9] = sum.wrapping_neg();
}

/// A SLIC table: public key, and a marker of this version if one is wanted.
pub(crate) fn slic(oem: &[u8; 6], marker: Option<u32>) -> Vec<u8> {
    let mut content = [0u32, 156].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    content.resize(156, 0x5a);
    if let Some(version) = marker {
        let mut part = [1u32, 182, 0x2_0000].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        part.extend_from_slice(oem);
        part.extend_from_slice(b"MODEL   ");
        part.extend_from_slice(b"WINDOWS ");
        part.extend_from_slice(&version.to_le_bytes());
        part.resize(182, 0xa5);
        content.extend(part);
    }
    table(b"SLIC", oem, b"MODEL   ", &content)
}

/// An MSDM table with this text for a key.
pub(crate) fn msdm(key: &[u8]) -> Vec<u8> {
    let mut content = [1u32, 0, 1, 0, key.len() as u32].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    content.extend_from_slice(key);
    table(b"MSDM", b"VENDOR", b"MODEL   ", &content)
}
