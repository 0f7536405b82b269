//! `klonwerk kms dns`.

use clap::Args;
use serde_json::json;

use crate::cli::output::Output;
use crate::dns::DnsName;
use crate::dns::kms_record::{Form, PORT, comment, full_host, record};

#[derive(Debug, Args)]
pub(super) struct DnsArgs {
    /// The domain in which PCs look, such as musterschule.example.
    #[arg(long)]
    domain: DnsName,
    /// The KMS host; a name without a dot lies in the domain.
    #[arg(long)]
    host: DnsName,
    /// Its port.
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Whose form: bind, dnsmasq or windows.
    #[arg(long, value_parser = form)]
    format: Form,
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "bind" => Ok(Form::Bind),
        "dnsmasq" => Ok(Form::Dnsmasq),
        "windows" => Ok(Form::Windows),
        other => Err(format!("'{other}' is no form here; use bind, dnsmasq or windows")),
    }
}

/// Prints a line of comment and the record.
pub(super) fn run(args: &DnsArgs, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let host = full_host(&args.host, &args.domain)?;
    let record = record(args.format, &args.domain, &host, args.port);
    let comment = comment(args.format, &args.domain, &host, to.language);
    if to.json {
        let (domain, port, format) = (&args.domain, args.port, args.format);
        to.json(&json!({ "domain": domain, "host": host, "port": port, "format": format, "comment": comment, "record": record }))?;
    } else {
        writeln!(to.out, "{comment}\n{record}")?;
    }
    Ok(true)
}
