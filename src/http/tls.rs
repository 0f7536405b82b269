//! The server's own certificate authority: made at first start, its fingerprint is the pin that boot files carry.
//!
//! The authority lives as long as the installation; the server's certificate is made anew at each start for the addresses
//! that the profiles name. Both are valid at any date, since a PC with an empty clock battery believes it is 1980.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::image::Hash;

/// Why there is no authority to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} is damaged; restore it from a backup, or delete the folder and boot every PC anew with the new pin", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate cannot be made.
    #[error("cannot make the server's certificate")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The server's authority.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.pin())
    }
}

impl Authority {
    /// The authority kept in `folder`, made if there is none.
    pub fn open_or_create(folder: &Path) -> Result<Self, TlsError> {
        let (key_path, certificate_path) = (folder.join("authority.key"), folder.join("authority.pem"));
        if !key_path.exists() {
            return Self::create(folder, &key_path, &certificate_path);
        }
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| TlsError::File { action: "read", path: path.to_owned(), source })
        };
        let damaged = |path: &Path, source| TlsError::Damaged { path: path.to_owned(), source };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(|e| damaged(&key_path, e.into()))?;
        let certificate = CertificateDer::from_pem_slice(read(&certificate_path)?.as_bytes())
            .map_err(|e| damaged(&certificate_path, e.into()))?;
        Ok(Self { key, certificate })
    }

    fn create(folder: &Path, key_path: &Path, certificate_path: &Path) -> Result<Self, TlsError> {
        let made = |e: rcgen::Error| TlsError::Certificate(e.into());
        let key = KeyPair::generate().map_err(made)?;
        let certificate = authority_params().self_signed(&key).map_err(made)?;
        let file = |action, path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::File { action, path, source }
        };
        fs::create_dir_all(folder).map_err(file("create", folder))?;
        // The key comes last: a start that was cut short makes a new pair instead of half of one.
        write_durably(certificate_path, 0o644, &certificate.pem()).map_err(file("write", certificate_path))?;
        write_durably(key_path, 0o600, &key.serialize_pem()).map_err(file("write", key_path))?;
        Ok(Self { key, certificate: certificate.der().clone() })
    }

    /// The fingerprint that agents compare: SHA-256 of the authority's certificate.
    pub fn pin(&self) -> Hash {
        Hash::of(&self.certificate)
    }

    /// A TLS configuration with a fresh certificate for these names and addresses.
    pub fn server_config(&self, names: &[String]) -> Result<Arc<ServerConfig>, TlsError> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| TlsError::Certificate(e);
        let authority = authority_params();
        let issuer = Issuer::from_params(&authority, &self.key);
        let key = KeyPair::generate().map_err(|e| failed(e.into()))?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(|e| failed(e.into()))?;
        params.distinguished_name.push(DnType::CommonName, "Klonwerk server");
        (params.not_before, params.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(4096, 1, 1));
        let certificate = params.signed_by(&key, &issuer).map_err(|e| failed(e.into()))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(e.into()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| failed(e.into()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Klonwerk");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (date_time_ymd(1975, 1, 1), date_time_ymd(4096, 1, 1));
    params
}

fn write_durably(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_outlives_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let first = Authority::open_or_create(folder.path()).expect("made");
        let second = Authority::open_or_create(folder.path()).expect("read");
        assert_eq!(first.pin(), second.pin());
        second.server_config(&["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("a certificate");
    }
}
