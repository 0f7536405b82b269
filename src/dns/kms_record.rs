//! The record with which a zone announces a KMS host, in the forms of three DNS servers.
//!
//! Source: Microsoft's "Guidelines for troubleshooting the Key Management Service" and "KMS host: create" pages; the field
//! orders are BIND's, dnsmasq(8)'s `srv-host` and the PowerShell module DnsServer's.

use crate::dns::{DnsName, NameError};
use crate::room::Language;

/// The service and protocol under which Windows looks for KMS hosts.
pub const SERVICE: &str = "_vlmcs._tcp";
/// The port on which a KMS host listens, unless told otherwise.
pub const PORT: u16 = 1688;

/// Which server's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A line of a BIND zone file.
    Bind,
    /// A line of dnsmasq's configuration.
    Dnsmasq,
    /// A command for Windows' DNS server.
    Windows,
}

/// The name under which Windows looks for the KMS hosts of `domain`.
///
/// # Errors
/// [`NameError::TooLong`].
pub fn service_name(domain: &DnsName) -> Result<DnsName, NameError> {
    format!("{SERVICE}.{domain}").parse()
}

/// The host's full name: a single label lies in the domain.
///
/// # Errors
/// [`NameError::TooLong`].
pub fn full_host(host: &DnsName, domain: &DnsName) -> Result<DnsName, NameError> {
    if host.as_str().contains('.') { Ok(host.clone()) } else { host.below(domain) }
}

/// The line itself. Priority and weight are 0: there is nothing to choose between.
pub fn record(form: Form, domain: &DnsName, host: &DnsName, port: u16) -> String {
    match form {
        Form::Bind => format!("{SERVICE}  3600 IN SRV 0 0 {port} {host}."),
        Form::Dnsmasq => format!("srv-host={SERVICE}.{domain},{host},{port},0,0"),
        Form::Windows => format!(
            "Add-DnsServerResourceRecord -Srv -ZoneName {domain} -Name {SERVICE} -DomainName {host} -Priority 0 -Weight 0 -Port {port}"
        ),
    }
}

/// A line of comment on where the record goes, marked as a comment of that server.
pub fn comment(form: Form, domain: &DnsName, host: &DnsName, language: Language) -> String {
    match (form, language) {
        (Form::Bind, Language::En) => format!(
            "; into the zone file of {domain}, with a higher serial number, then rndc reload; {host} needs an A or AAAA record as well"
        ),
        (Form::Bind, Language::De) => format!(
            "; in die Zonendatei von {domain}, Seriennummer erhöhen, dann rndc reload; {host} braucht auch einen A- oder AAAA-Eintrag"
        ),
        (Form::Dnsmasq, Language::En) => format!(
            "# into a file such as /etc/dnsmasq.d/kms.conf, then restart dnsmasq; {host} needs an address there as well (host-record)"
        ),
        (Form::Dnsmasq, Language::De) => format!(
            "# in eine Datei wie /etc/dnsmasq.d/kms.conf, dann dnsmasq neu starten; {host} braucht dort auch eine Adresse (host-record)"
        ),
        (Form::Windows, Language::En) => {
            format!("# in PowerShell on the DNS server, as an administrator; {host} needs an A or AAAA record as well")
        }
        (Form::Windows, Language::De) => format!(
            "# in der PowerShell des DNS-Servers, als Administrator; {host} braucht auch einen A- oder AAAA-Eintrag"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_have_their_own_order_of_fields() {
        let domain: DnsName = "example.school".parse().unwrap();
        let host = full_host(&"kms".parse().unwrap(), &domain).unwrap();
        let line = |form| record(form, &domain, &host, 1688);
        assert_eq!(line(Form::Bind), "_vlmcs._tcp  3600 IN SRV 0 0 1688 kms.example.school.");
        assert_eq!(line(Form::Dnsmasq), "srv-host=_vlmcs._tcp.example.school,kms.example.school,1688,0,0");
        assert_eq!(
            line(Form::Windows),
            "Add-DnsServerResourceRecord -Srv -ZoneName example.school -Name _vlmcs._tcp -DomainName kms.example.school -Priority 0 -Weight 0 -Port 1688"
        );
        assert_eq!(service_name(&domain).unwrap().as_str(), "_vlmcs._tcp.example.school");
        let other: DnsName = "kms.verwaltung.example".parse().unwrap();
        assert_eq!(full_host(&other, &domain).unwrap(), other);
        for form in [Form::Bind, Form::Dnsmasq, Form::Windows] {
            for language in [Language::En, Language::De] {
                let comment = comment(form, &domain, &host, language);
                assert!(comment.starts_with([';', '#']) && !comment.contains('\n'), "{comment}");
            }
        }
    }
}
