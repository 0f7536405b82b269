//! What `/etc/resolv.conf` says, as resolv.conf(5) describes it.

use std::time::Duration;

use super::DnsName;

/// Name servers that the C library uses too (`MAXNS`).
const MOST_SERVERS: usize = 3;
/// Search domains that are kept.
const MOST_DOMAINS: usize = 6;

/// How this system asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverFile {
    /// The name servers as they stand there; an IPv6 address may carry `%` and an interface.
    pub servers: Vec<String>,
    /// The search domains, the system's own first.
    pub search: Vec<DnsName>,
    /// How long to wait for one server.
    pub patience: Duration,
    /// How often to go through the servers.
    pub rounds: u32,
}

impl Default for ResolverFile {
    fn default() -> Self {
        Self {
            // Without an entry the server on this machine is meant.
            servers: vec!["127.0.0.1".to_owned()],
            search: Vec::new(),
            patience: Duration::from_secs(5),
            rounds: 2,
        }
    }
}

/// Reads the text of the file. What is not understood is passed over, as the C library does.
pub fn read(text: &str) -> ResolverFile {
    let mut servers = Vec::new();
    let mut file = ResolverFile::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            // The last of both kinds counts.
            Some("search" | "domain") => {
                file.search = words.filter_map(|word| word.parse().ok()).take(MOST_DOMAINS).collect();
            }
            Some("options") => words.for_each(|word| option(&mut file, word)),
            _ => {}
        }
    }
    servers.truncate(MOST_SERVERS);
    if !servers.is_empty() {
        file.servers = servers;
    }
    file
}

fn option(file: &mut ResolverFile, word: &str) {
    match word.split_once(':') {
        // The bounds are the C library's.
        Some(("timeout", seconds)) => {
            if let Ok(seconds) = seconds.parse::<u64>() {
                file.patience = Duration::from_secs(seconds.clamp(1, 30));
            }
        }
        Some(("attempts", rounds)) => {
            if let Ok(rounds) = rounds.parse::<u32>() {
                file.rounds = rounds.clamp(1, 5);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_the_c_library_reads_it() {
        let file = read(
            "# made by hand\nnameserver 10.0.0.1 ; the router\nnameserver fe80::1%eth0\n  nameserver 10.0.0.3\n\
             nameserver 10.0.0.4\ndomain old.example\nsearch Schule.example, verwaltung.schule.example\n\
             options timeout:1 attempts:9 ndots:x edns0\nsortlist 1.2.3.4\nnameserver\n",
        );
        assert_eq!(file.servers, ["10.0.0.1", "fe80::1%eth0", "10.0.0.3"]);
        // The comma is no part of a name, and such an entry is passed over.
        assert_eq!(file.search.iter().map(DnsName::as_str).collect::<Vec<_>>(), ["verwaltung.schule.example"]);
        assert_eq!((file.patience, file.rounds), (Duration::from_secs(1), 5));
        assert_eq!(read("search\n\u{0}"), ResolverFile::default());
    }
}
