//! `klonwerk kms status`.

use crate::activation::kms::{Overview, Place as Pc};
use crate::cli::ask::Asker;
use crate::cli::output::{Output, table};
use crate::cli::place::Place;

/// PCs that are named in one line.
const NAMED: usize = 12;

/// Asks and prints; tells whether no PC needs attention.
pub(super) fn run(place: &Place, to: &mut Output<'_>) -> anyhow::Result<bool> {
    let asker = Asker::open(&place.state(), to.language)?;
    let overview: Overview = asker.get("/v1/kms")?;
    print(&overview, to)?;
    Ok(overview.duplicates.is_empty() && overview.unreachable.is_empty())
}

fn print(overview: &Overview, to: &mut Output<'_>) -> anyhow::Result<()> {
    if to.json {
        return to.json(overview);
    }
    if overview.pcs == 0 {
        to.say("Kein Raum hat die Strategie kms.", "No room has the strategy kms.")?;
    } else {
        threshold(overview, to)?;
        writeln!(to.out)?;
        standings(overview, to)?;
    }
    duplicates(overview, to)
}

fn threshold(overview: &Overview, to: &mut Output<'_>) -> anyhow::Result<()> {
    let Overview { threshold, cap, window_days, pcs, counted, seen, pcs_seen, .. } = overview;
    to.say(
        &format!("{counted} von {threshold} gezählt: so viele verschiedene Client-IDs hat der KMS-Host in den letzten {window_days} Tagen von diesen PCs gesehen."),
        &format!("{counted} of {threshold} counted: so many different client IDs has the KMS host seen from these PCs in the last {window_days} days."),
    )?;
    to.say(
        &format!("PCs: {pcs} mit Strategie kms, davon {pcs_seen} in dieser Zeit am Host."),
        &format!("PCs: {pcs} with the strategy kms, {pcs_seen} of them at the host in that time."),
    )?;
    if seen > pcs_seen {
        to.say(
            &format!("Jeder Klon eines verallgemeinerten Images bekommt eine neue ID und zählt beim Host noch einmal, bis {cap}; die Zahl der PCs sagt, was ohne Klonen bliebe."),
            &format!("Each clone of a generalized image gets a new ID and counts once more at the host, up to {cap}; the number of PCs says what would be left without cloning."),
        )?;
    }
    if counted < threshold {
        to.say(
            "Andere PCs am selben Host zählen mit und stehen hier nicht; darunter antwortet er 0xC004F038.",
            "Other PCs at the same host count too and are not shown here; below the threshold it answers 0xC004F038.",
        )?;
    }
    if pcs < threshold {
        to.say(
            &format!(
                "Die Schule hat weniger als {threshold} PCs dafür: nach Ferien kann der Host sie wieder abweisen."
            ),
            &format!(
                "The school has fewer than {threshold} PCs for it: after holidays the host may refuse them again."
            ),
        )?;
    }
    Ok(())
}

fn standings(overview: &Overview, to: &mut Output<'_>) -> anyhow::Result<()> {
    let mut rows = table();
    rows.set_header([to.text("letzter Bericht", "last report"), "PCs", ""]);
    for (name, list) in [
        (to.text("aktiviert", "activated"), &overview.activated),
        (to.text("zu wenige gezählt", "count too low"), &overview.count_too_low),
        (to.text("Host nicht erreicht", "host not reached"), &overview.unreachable),
        (to.text("aus anderem Grund nicht aktiviert", "not activated for another reason"), &overview.not_activated),
        (to.text("noch kein Bericht", "no report yet"), &overview.silent),
    ] {
        // Who is well need not be named.
        let names = if std::ptr::eq(list, &overview.activated) { String::new() } else { named(list) };
        rows.add_row([name.to_owned(), list.len().to_string(), names]);
    }
    Ok(writeln!(to.out, "{}", rows.trim_fmt())?)
}

fn duplicates(overview: &Overview, to: &mut Output<'_>) -> anyhow::Result<()> {
    if overview.duplicates.is_empty() {
        return Ok(());
    }
    writeln!(to.out)?;
    to.say(
        "Alarm: diese PCs haben dieselbe Client-Computer-ID, ein KMS-Host zählt sie als einen:",
        "Alarm: these PCs have the same client machine ID, a KMS host counts them as one:",
    )?;
    for duplicate in &overview.duplicates {
        writeln!(to.out, "  {}: {}", duplicate.cmid, named(&duplicate.machines))?;
    }
    to.say(
        "Abhilfe: Image mit sysprep /generalize und ohne SkipRearm neu bauen und aufnehmen. Bis dahin auf jedem PC: slmgr /rearm, neu starten, slmgr /ato (hält bis zum nächsten Klon).",
        "Help: rebuild and capture the image with sysprep /generalize and without SkipRearm. Until then on each PC: slmgr /rearm, restart, slmgr /ato (lasts until the next clone).",
    )
}

fn named(list: &[Pc]) -> String {
    let names: Vec<String> = list.iter().take(NAMED).map(|pc| format!("{} ({})", pc.machine, pc.room)).collect();
    let more = list.len().saturating_sub(names.len());
    let names = names.join(", ");
    if more > 0 { format!("{names}, +{more}") } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::kms::Duplicate;
    use crate::room::Language;

    fn pcs(count: usize) -> Vec<Pc> {
        (0..count)
            .map(|n| Pc { room: "r102".parse().unwrap(), machine: format!("R102-{n:02}").parse().unwrap() })
            .collect()
    }

    fn overview() -> Overview {
        Overview {
            threshold: 25,
            cap: 50,
            window_days: 30,
            pcs: 14,
            counted: 23,
            seen: 23,
            pcs_seen: 12,
            activated: vec![],
            count_too_low: pcs(13),
            unreachable: pcs(1),
            not_activated: vec![],
            silent: vec![],
            duplicates: vec![Duplicate { cmid: "6e1e4a2c-0000-4a10-8052-b4c04f513233".to_owned(), machines: pcs(2) }],
        }
    }

    fn screen(overview: &Overview, language: Language) -> String {
        let mut out = Vec::new();
        print(overview, &mut Output { out: &mut out, language, json: false }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_threshold_is_shown_with_the_pcs_behind_it() {
        insta::assert_snapshot!([Language::En, Language::De].map(|language| screen(&overview(), language)).join("\n"));
    }

    #[test]
    fn a_site_without_kms_says_so() {
        let none = Overview {
            pcs: 0,
            counted: 0,
            seen: 0,
            pcs_seen: 0,
            count_too_low: vec![],
            unreachable: vec![],
            duplicates: vec![],
            ..overview()
        };
        assert_eq!(screen(&none, Language::En), "No room has the strategy kms.\n");
        assert_eq!(screen(&none, Language::De), "Kein Raum hat die Strategie kms.\n");
    }
}
