//! What a plan says to people.

use jiff::civil::Date;

use super::{Advice, Cause, Gap, GracePlan, Level, Shortfall};
use crate::room::Language;

fn day(date: Date, language: Language) -> String {
    match language {
        Language::En => date.to_string(),
        Language::De => date.strftime("%d.%m.%Y").to_string(),
    }
}

fn count(days: u32, language: Language) -> String {
    match (language, days) {
        (Language::En, 1) => "1 day".to_owned(),
        (Language::En, days) => format!("{days} days"),
        (Language::De, 1) => "1 Tag".to_owned(),
        (Language::De, days) => format!("{days} Tage"),
    }
}

impl GracePlan {
    /// What is the matter, in one line.
    pub fn text(&self, language: Language) -> String {
        match (&self.shortfall, language) {
            (Some(shortfall), _) => shortfall.text(language),
            (None, Language::En) => match &self.longest {
                Some(gap) => format!("the grace period lasts: at most {}", gap.text(language)),
                None => "the grace period lasts".to_owned(),
            },
            (None, Language::De) => match &self.longest {
                Some(gap) => format!("die Karenzzeit reicht: höchstens {}", gap.text(language)),
                None => "die Karenzzeit reicht".to_owned(),
            },
        }
    }

    /// What to do about it, in one line; empty where nothing is to be done.
    pub fn advice(&self, language: Language) -> String {
        let all: Vec<String> = self.advice.iter().map(|advice| advice.text(language)).collect();
        all.join(match language {
            Language::En => ", or ",
            Language::De => ", oder ",
        })
    }
}

impl Level {
    /// In one word.
    pub fn word(self, language: Language) -> &'static str {
        match (self, language) {
            (Level::Fine, Language::En) => "fine",
            (Level::Fine, Language::De) => "in Ordnung",
            (Level::Warn, Language::En) => "warning",
            (Level::Warn, Language::De) => "Warnung",
            (Level::Refuse, Language::En) => "refused",
            (Level::Refuse, Language::De) => "abgelehnt",
        }
    }
}

impl Gap {
    fn text(&self, language: Language) -> String {
        let holidays = self.holidays.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
        let from = day(self.from, language);
        match (self.to.zip(self.days), language) {
            (Some((to, days)), Language::En) => {
                format!("{} between the clones of {from} and {}{holidays}", count(days, language), day(to, language))
            }
            (Some((to, days)), Language::De) => {
                let days = count(days, language);
                format!("{days} zwischen den Klonen vom {from} und vom {}{holidays}", day(to, language))
            }
            (None, Language::En) => format!("no clone after that of {from}"),
            (None, Language::De) => format!("kein Klon nach dem vom {from}"),
        }
    }
}

impl Shortfall {
    fn text(&self, language: Language) -> String {
        let (shows, gap) = (day(self.shows, language), self.gap.text(language));
        let grace = count(self.grace_days, language);
        let lessons = match (self.lessons.map(|lessons| day(lessons, language)), language) {
            (None, Language::En) => ", on days without lessons".to_owned(),
            (None, Language::De) => ", an Tagen ohne Unterricht".to_owned(),
            (Some(day), Language::En) if day == shows => ", on a school day".to_owned(),
            (Some(day), Language::De) if day == shows => ", an einem Schultag".to_owned(),
            (Some(day), Language::En) => format!(", in lessons from {day} on"),
            (Some(day), Language::De) => format!(", im Unterricht ab {day}"),
        };
        match (self.cause, language) {
            (Cause::NoGrace, Language::En) => {
                format!(
                    "this Windows has no grace period; PCs say from their clone on that they are not activated{lessons}"
                )
            }
            (Cause::NoGrace, Language::De) => {
                format!(
                    "dieses Windows hat keine Karenzzeit; die PCs melden ab dem Klon, dass sie nicht aktiviert sind{lessons}"
                )
            }
            (Cause::Gap, Language::En) => {
                format!(
                    "the grace of {grace} does not last ({gap}); from {shows} on PCs say that they are not activated{lessons}"
                )
            }
            (Cause::Gap, Language::De) => {
                format!(
                    "die Karenzzeit ({grace}) reicht nicht ({gap}); ab {shows} melden die PCs, dass sie nicht aktiviert sind{lessons}"
                )
            }
            (Cause::ImageAged, Language::En) => {
                format!("the grace period runs inside the image and ends on {shows}; no clone changes that{lessons}")
            }
            (Cause::ImageAged, Language::De) => {
                format!("die Karenzzeit läuft im Image und endet am {shows}; kein Klon ändert das{lessons}")
            }
            (Cause::MissedRun { run }, Language::En) => {
                let run = day(run, language);
                format!(
                    "if the run of {run} is missed, the grace of {grace} ends on {shows}{lessons}, before the next one"
                )
            }
            (Cause::MissedRun { run }, Language::De) => {
                let run = day(run, language);
                format!(
                    "fällt der Lauf vom {run} aus, endet die Karenzzeit ({grace}) am {shows}{lessons}, vor dem nächsten"
                )
            }
        }
    }
}

impl Advice {
    /// In a few words, which go on from each other with an 'or' between them.
    pub fn text(self, language: Language) -> String {
        match (self, language) {
            (Advice::ExtraRun { by }, Language::En) => format!("re-clone once more by {}", day(by, language)),
            (Advice::ExtraRun { by }, Language::De) => {
                format!("bis zum {} einmal zusätzlich klonen", day(by, language))
            }
            (Advice::MoreOften, Language::En) => "re-clone more often".to_owned(),
            (Advice::MoreOften, Language::De) => "öfter klonen".to_owned(),
            (Advice::Rearm, Language::En) => "let the hook rearm (`rearm: when-needed`)".to_owned(),
            (Advice::Rearm, Language::De) => "den Hook erneuern lassen (`rearm: when-needed`)".to_owned(),
            (Advice::NewImage, Language::En) => "generalize the master PC and capture the image again".to_owned(),
            (Advice::NewImage, Language::De) => "den Muster-PC generalisieren und das Image neu aufnehmen".to_owned(),
            (Advice::KeepOff, Language::En) => "leave the PCs off until the next run".to_owned(),
            (Advice::KeepOff, Language::De) => "die PCs bis zum nächsten Lauf aus lassen".to_owned(),
            (Advice::OtherStrategy, Language::En) => "use another strategy, such as `kms` or `mak-proxy`".to_owned(),
            (Advice::OtherStrategy, Language::De) => {
                "eine andere Strategie wählen, etwa `kms` oder `mak-proxy`".to_owned()
            }
        }
    }
}
