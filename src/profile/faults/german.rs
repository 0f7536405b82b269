//! The words of each fault in German.

use super::{FaultKind, Found, MOST_FAULTS, Named, Shape};
use crate::activation::KeyKind;
use crate::activation::activation_ws::AddressError;
use crate::activation::key::GVLK_PAGE;
use crate::calendar::ScheduleError;
use crate::calendar::school::{CalendarError, LONGEST_HOLIDAYS, MOST_HOLIDAYS};
use crate::image::{FirmwareKind, KeyChannel};
use crate::room::Language;

/// A date as it is written in German.
fn day(date: jiff::civil::Date) -> String {
    date.strftime("%d.%m.%Y").to_string()
}

/// What is wrong.
pub(super) fn text(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Unreadable { reason } => format!("das lässt sich nicht lesen: {reason}"),
        FaultKind::NotUtf8 => "diese Datei ist kein UTF-8-Text".to_owned(),
        FaultKind::TooLarge { bytes, most } => {
            format!("diese Datei hat {bytes} Bytes; ein Profil hat höchstens {most}")
        }
        FaultKind::EmptyFile => "in dieser Datei steht nichts".to_owned(),
        FaultKind::NoSite => "in diesem Ordner fehlt site.yaml".to_owned(),
        FaultKind::NoRooms => "es gibt keinen Raum; der Ordner `rooms` enthält keine .yaml-Datei".to_owned(),
        FaultKind::DuplicateFile { name, other } => {
            format!("`{name}` ist doppelt beschrieben; die andere Datei ist {}", other.display())
        }
        FaultKind::IgnoredFile => "diese Datei wird nicht gelesen; Räume sind Dateien, die auf .yaml enden".to_owned(),
        FaultKind::TooManyRooms { most } => format!("es sind mehr als {most} Räume"),
        FaultKind::ProductKey => {
            "hier steht ein Produktschlüssel; wer die Profile liest, kann ihn verbrauchen".to_owned()
        }

        FaultKind::Syntax { message } => format!("das ist kein YAML: {message}"),
        FaultKind::Tab => "hier steht ein Tabulator, wo YAML Leerzeichen verlangt".to_owned(),
        FaultKind::TooComplex => "das ist tiefer verschachtelt oder länger als jedes Profil".to_owned(),
        FaultKind::SecondDocument => "hier beginnt ein zweites Dokument; ein Profil ist eines".to_owned(),
        FaultKind::NotForProfiles => {
            "Profile kommen ohne Zusammenführung (`<<`), Typmarken und Schlüssel aus, die keine Namen sind".to_owned()
        }
        FaultKind::DuplicateKey { key, first_line } => {
            format!("`{key}` steht hier zum zweiten Mal; zuerst in Zeile {first_line}")
        }

        FaultKind::UnknownField { field, .. } => format!("ein Feld `{field}` gibt es hier nicht"),
        FaultKind::MissingField { field } => format!("`{field}` fehlt oder hat keinen Wert"),
        FaultKind::WrongShape { expected, found } => {
            format!("erwartet: {}, gefunden: {}", shape(*expected), self::found(found))
        }
        FaultKind::UnknownChoice { found, .. } => {
            format!("`{found}` gehört nicht zu den Wörtern, die hier stehen können")
        }
        FaultKind::NotOneChoice { .. } => "hier kann nur genau eine Angabe stehen".to_owned(),

        FaultKind::EmptyEntry => "dieser Eintrag ist leer".to_owned(),
        FaultKind::EmptyText => "dieser Text ist leer".to_owned(),
        FaultKind::BadName { named, text } => format!("`{text}` kann nicht der Name {} sein", self::named(*named)),
        FaultKind::BadMachineName { text } => format!("`{text}` kann kein Computername sein"),
        FaultKind::BadMac { text } => format!("`{text}` ist keine MAC-Adresse"),
        FaultKind::GroupMac { mac } => {
            format!("{mac} ist eine Gruppen- oder leere Adresse, nicht die einer einzelnen Netzwerkkarte")
        }
        FaultKind::BadUuid { text } => format!("`{text}` ist keine UUID"),
        FaultKind::BlankUuid => "diese UUID meldet die Firmware, wenn sie keine hat".to_owned(),
        FaultKind::BadSize { text } => format!("`{text}` ist keine Größe"),
        FaultKind::SizesCrossed => "die größte Platte ist kleiner als die kleinste; keine Platte passt".to_owned(),
        FaultKind::BadDuration { text } => format!("`{text}` ist keine Dauer"),
        FaultKind::DurationOutside { least, most } => format!("erlaubt ist eine Dauer von {least} bis {most}"),
        FaultKind::BadAddress { text } => format!("`{text}` ist keine IP-Adresse"),
        FaultKind::UnusableAddress { text } => format!("unter {text} erreicht kein PC einen Server"),
        FaultKind::BadPort { port: 0 } => "Port 0 gibt es nicht".to_owned(),
        FaultKind::BadPort { port } => format!("den Port {port} hat schon ein anderer Dienst dieses Servers"),
        FaultKind::BadTimeZone { text, .. } => format!("`{text}` ist keine Zeitzone, die dieser Rechner kennt"),
        FaultKind::BadHost { text } => format!("`{text}` ist kein Rechnername"),
        FaultKind::RelativePath { text } => format!("`{text}` ist kein vollständiger Pfad"),
        FaultKind::BadPartialKey => "das sind nicht die letzten fünf Zeichen eines Produktschlüssels".to_owned(),
        FaultKind::KeySources { count: 0 } => "es steht nicht da, woher der Wert dieses Schlüssels kommt".to_owned(),
        FaultKind::KeySources { count } => format!("der Wert dieses Schlüssels käme von {count} Stellen"),
        FaultKind::HostKey => {
            "das ist der Schlüssel eines KMS-Hosts; auf einem PC würde er dessen wenige Aktivierungen verbrauchen"
                .to_owned()
        }
        FaultKind::OemKeyValue => {
            "der eigene Schlüssel eines PCs steckt im PC; hier bekäme er einen Wert vom Server".to_owned()
        }
        FaultKind::PublishedKey { kind: KeyKind::Gvlk } => {
            "so endet kein Schlüssel, den Microsoft als GVLK veröffentlicht".to_owned()
        }
        FaultKind::PublishedKey { kind } => {
            format!("so endet ein veröffentlichter GVLK, kein Schlüssel vom Typ `{}`", kind.name())
        }
        FaultKind::BudgetOnUncounted { field, kind } => format!(
            "`{field}` hat bei einem Schlüssel vom Typ `{}` keinen Sinn; niemand zählt seine Aktivierungen",
            kind.name()
        ),
        FaultKind::ReserveWithoutBudget => "eine Reserve ohne Budget hält nichts zurück".to_owned(),
        FaultKind::ReserveAboveBudget { reserve, budget } => {
            format!("eine Reserve von {reserve} lässt von einem Budget von {budget} nichts übrig")
        }
        FaultKind::EmptyCommand => "dieser Befehl hat kein Programm".to_owned(),
        FaultKind::ShippedHookName { hook } => format!("`{hook}` heißt schon ein Hook, den Klonwerk mitbringt"),

        FaultKind::Calendar(error) => match error {
            CalendarError::NoDate { text } => format!("`{text}` ist kein Datum"),
            CalendarError::Reversed { from, to } => {
                format!("diese Ferien enden am {}, bevor sie am {} beginnen", day(*to), day(*from))
            }
            CalendarError::TooLong { days } => {
                format!("diese Ferien dauern {days} Tage; keine Ferien dauern länger als {LONGEST_HOLIDAYS}")
            }
            CalendarError::TooMany { count } => {
                format!("hier stehen {count} Einträge; ein Kalender hat höchstens {MOST_HOLIDAYS}")
            }
            CalendarError::NoSchoolDay => "kein Wochentag ist ein Schultag; es gäbe keine Schulnacht".to_owned(),
        },

        FaultKind::ActivationWs(error) => match error {
            AddressError::NotAnAddress => "das ist nicht die Adresse eines Servers".to_owned(),
            AddressError::Credentials => "in dieser Adresse steht ein Name oder Kennwort".to_owned(),
            AddressError::NotEncrypted => "Bestätigungs-IDs gingen unverschlüsselt durch das Netz".to_owned(),
        },

        FaultKind::Schedule(error) => match error {
            ScheduleError::NotUnderstood { text } => format!("`{text}` ist kein Zeitplan"),
            ScheduleError::NoSuchTime { text } => format!("`{text}` ist keine Uhrzeit"),
            ScheduleError::BadCron { text } => format!("der Cron-Ausdruck `{text}` hat ein unmögliches Feld"),
            ScheduleError::NeverFires { text } => format!("`{text}` tritt nie ein; diesen Tag hat kein Jahr"),
            ScheduleError::TooOften { minutes, .. } => format!("das beginnt schon nach {minutes} Minuten wieder"),
            ScheduleError::ReadyBeforeStart { start, ready_by } => format!(
                "ein Lauf, der um {} beginnt, kann nicht bis {} fertig sein",
                start.strftime("%H:%M"),
                ready_by.strftime("%H:%M")
            ),
            ScheduleError::WindowPastReady { start, window, ready_by } => format!(
                "PCs dürfen noch {} Minuten nach {} beginnen, müssen aber bis {} fertig sein",
                window.as_secs() / 60,
                start.strftime("%H:%M"),
                ready_by.strftime("%H:%M")
            ),
        },

        FaultKind::EmptyRoom => "dieser Raum hat keinen PC".to_owned(),
        FaultKind::DuplicateMachine { name, first } => format!("einen PC `{name}` gibt es schon, bei {first}"),
        FaultKind::DuplicateMac { mac, first } => format!("{mac} gehört schon einem anderen PC, bei {first}"),
        FaultKind::DuplicateUuid { uuid, first } => format!("{uuid} gehört schon einem anderen PC, bei {first}"),
        FaultKind::DanglingImage { image, .. } => format!("site.yaml nennt kein Image `{image}`"),
        FaultKind::DanglingKey { key, .. } => format!("site.yaml nennt keinen Schlüssel `{key}`"),
        FaultKind::DanglingHook { hook, .. } => format!("einen Hook `{hook}` gibt es nicht"),
        FaultKind::HookTwice { hook } => format!("der Hook `{hook}` steht hier zweimal"),
        FaultKind::HookOrder { hook, before } => format!("`{hook}` muss vor `{before}` stehen"),
        FaultKind::NoActivationHook { strategy } => {
            format!("die Strategie `{strategy}` wird nie angewandt; der Hook `activation` fehlt")
        }
        FaultKind::FirmwareMismatch { room, image, name } => {
            format!("diese PCs starten mit {}, das Image `{name}` mit {}", firmware(*room), firmware(*image))
        }

        FaultKind::KeyKindMismatch { key, kind, strategy } => {
            format!("die Strategie `{strategy}` kann `{key}` nicht verwenden; das ist ein {}", key_kind(*kind))
        }
        FaultKind::KeyEditionMismatch { key, key_edition, image, image_edition } => {
            format!("`{key}` ist ein Schlüssel für {key_edition}, das Image `{image}` ist {image_edition}")
        }
        FaultKind::GraceOnNewWindows { image, build } => {
            format!(
                "das Image `{image}` (Build {build}) hat kaum eine Karenzzeit; ab Windows 8 erinnert Windows sofort"
            )
        }
        FaultKind::GraceWithMak { image } => {
            format!("im Image `{image}` steckt ein MAK; Windows würde ihn von selbst verbrauchen, Klon für Klon")
        }
        FaultKind::NotGeneralized { image, strategy } => {
            format!("die Strategie `{strategy}` braucht ein generalisiertes Image; `{image}` ist keines")
        }
        FaultKind::GraceEnds(plan) => plan.text(Language::De),
        FaultKind::GraceWithoutSchedule { grace_days } => {
            format!(
                "die Karenzzeit dieses Windows endet nach {grace_days} Tagen, und kein Zeitplan klont den Raum vorher neu"
            )
        }
        FaultKind::KmsChannel { image, channel } => {
            format!("ein KMS-Host braucht einen GVLK; der Schlüssel im Image `{image}` ist: {}", channel_name(*channel))
        }
        FaultKind::KmsSkipRearm { image } => {
            format!("alle Klone von `{image}` zählen beim KMS-Host als ein PC; im Image ist SkipRearm gesetzt")
        }
        FaultKind::MakProxyChannel { image } => {
            format!("im Image `{image}` steckt ein GVLK, den keine Bestätigungs-ID aktiviert")
        }
        FaultKind::UnknownFacts { image, strategy, field } => {
            format!("ob `{strategy}` gelingen kann, ist unbekannt; beim Image `{image}` fehlt `{field}`")
        }
        FaultKind::SharedSids { image, build } => format!(
            "Klone von `{image}` (Build {build}) haben gemeinsame SIDs; Windows 11 ab 24H2 lehnt das zwischen PCs ab"
        ),
        FaultKind::KmsFewMachines { count } => {
            format!("{count} PCs verwenden KMS; ein KMS-Host aktiviert Windows erst ab 25 PCs")
        }
    }
}

/// What to do about it.
pub(super) fn advice(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Unreadable { .. } => {
            "prüfen, ob es vorhanden ist, keine Schleife aus Verweisen, und gelesen werden darf".to_owned()
        }
        FaultKind::NotUtf8 => "im Editor als UTF-8 speichern".to_owned(),
        FaultKind::TooLarge { .. } => "das ist wohl eine andere Datei; aus dem Ordner nehmen".to_owned(),
        FaultKind::EmptyFile => "das Profil schreiben oder die Datei löschen".to_owned(),
        FaultKind::NoSite => "site.yaml aus der Beispielschule kopieren oder den richtigen Ordner angeben".to_owned(),
        FaultKind::NoRooms => "eine Datei wie rooms/r101.yaml schreiben; die Beispielschule hat drei".to_owned(),
        FaultKind::DuplicateFile { .. } => "eine der beiden löschen oder umbenennen".to_owned(),
        FaultKind::IgnoredFile => "umbenennen, wenn es ein Raum ist, sonst woanders ablegen".to_owned(),
        FaultKind::TooManyRooms { .. } => "die Schule auf mehrere Ordner verteilen".to_owned(),
        FaultKind::ProductKey => "herausnehmen, hier und aus der Versionsgeschichte; den Wert als Credential, Datei oder \
                                  Umgebungsvariable ablegen und in site.yaml unter `keys` nennen"
            .to_owned(),

        FaultKind::Syntax { .. } => "oft fehlt ein Leerzeichen nach einem Doppelpunkt, ein schließendes Anführungszeichen, \
                                     oder Zeilen sind ungleich eingerückt; auch die Zeile darüber ansehen"
            .to_owned(),
        FaultKind::Tab => "mit Leerzeichen einrücken, zwei je Stufe".to_owned(),
        FaultKind::TooComplex => "einfach ausschreiben, ohne Verschachtelung und wiederholte Verweise".to_owned(),
        FaultKind::SecondDocument => "die Zeile `---` entfernen oder den Rest in eine eigene Datei legen".to_owned(),
        FaultKind::NotForProfiles => "die Werte ausschreiben".to_owned(),
        FaultKind::DuplicateKey { .. } => "eines von beiden behalten".to_owned(),

        FaultKind::UnknownField { near: Some(near), .. } => format!("war `{near}` gemeint?"),
        FaultKind::UnknownField { known, .. } if known.is_empty() => "entfernen".to_owned(),
        FaultKind::UnknownField { known, .. } => format!("die Felder hier sind {}", list(known)),
        FaultKind::MissingField { field } => format!("`{field}:` mit seinem Wert ergänzen"),
        FaultKind::WrongShape { expected, .. } => match expected {
            Shape::Text => "einen einzelnen Wert in die Zeile schreiben".to_owned(),
            Shape::YesNo => "`true` oder `false` schreiben, ohne Anführungszeichen".to_owned(),
            Shape::Number { .. } => "eine ganze Zahl in Ziffern schreiben, ohne Anführungszeichen und Einheit".to_owned(),
            Shape::List => "jeden Eintrag auf eine eigene Zeile schreiben, nach `- `".to_owned(),
            Shape::Fields => "`Name: Wert` auf eigene Zeilen schreiben, eingerückt".to_owned(),
        },
        FaultKind::UnknownChoice { near: Some(near), .. } => format!("war `{near}` gemeint?"),
        FaultKind::UnknownChoice { choices, .. } | FaultKind::NotOneChoice { choices } => {
            format!("eines davon wählen: {}", list(choices))
        }

        FaultKind::EmptyEntry => "ausfüllen oder entfernen".to_owned(),
        FaultKind::EmptyText => "einen Text schreiben oder das Feld entfernen".to_owned(),
        FaultKind::BadName { named: Named::Image, .. } => format!("{SLUG}; die Version gehört hier nicht dazu"),
        FaultKind::BadName { named: Named::ImageWish, .. } => {
            "Name@Version schreiben, etwa win11@2026-11, oder nur den Namen für die neueste Version".to_owned()
        }
        FaultKind::BadName { named: Named::Room, .. } => format!("die Datei umbenennen; {SLUG}"),
        FaultKind::BadName { .. } => SLUG.to_owned(),
        FaultKind::BadMachineName { .. } => "Windows nimmt 1 bis 15 Buchstaben, Ziffern und Bindestriche, nicht nur Ziffern, \
                                             am Rand kein Bindestrich, keine Umlaute"
            .to_owned(),
        FaultKind::BadMac { .. } => "sechs Paare hexadezimaler Ziffern schreiben, etwa 52:54:00:12:34:56".to_owned(),
        FaultKind::GroupMac { .. } => "die Adresse schreiben, die auf der Karte steht oder die `getmac` zeigt".to_owned(),
        FaultKind::BadUuid { .. } => "8-4-4-4-12 hexadezimale Ziffern schreiben, wie das Firmware-Setup sie zeigt".to_owned(),
        FaultKind::BlankUuid => "`uuid` bei diesem PC weglassen".to_owned(),
        FaultKind::BadSize { .. } => "eine Zahl mit Einheit schreiben, etwa 100GB oder 240GiB".to_owned(),
        FaultKind::SizesCrossed => "`min_size` und `max_size` tauschen oder eines davon berichtigen".to_owned(),
        FaultKind::BadDuration { .. } => "eine Zahl mit Einheit schreiben, etwa 90s, 2m, 4h oder 1h 30m".to_owned(),
        FaultKind::DurationOutside { .. } => "einen Wert dazwischen wählen oder das Feld weglassen".to_owned(),
        FaultKind::BadAddress { .. } => "in Ziffern schreiben, etwa 10.0.0.2".to_owned(),
        FaultKind::UnusableAddress { .. } => "die eigene Adresse des Servers im Netz der PCs schreiben".to_owned(),
        FaultKind::BadPort { .. } => "einen anderen Port wählen oder das Feld weglassen".to_owned(),
        FaultKind::BadTimeZone { near: Some(near), .. } => format!("war `{near}` gemeint?"),
        FaultKind::BadTimeZone { .. } => "einen IANA-Namen schreiben, etwa Europe/Berlin; auf einem kleinen Linux fehlt \
                                          vielleicht das Paket `tzdata`"
            .to_owned(),
        FaultKind::BadHost { .. } => {
            "einen Namen wie kms.example.school oder eine Adresse schreiben; der Port hat ein eigenes Feld".to_owned()
        }
        FaultKind::RelativePath { .. } => "von der Wurzel an schreiben, etwa /etc/klonwerk/mak-win11".to_owned(),
        FaultKind::BadPartialKey => "die fünf Zeichen schreiben, die `slmgr /dli` am Muster-PC zeigt".to_owned(),
        FaultKind::KeySources { .. } => {
            "genau eines von `credential`, `file`, `environment`, `in_image` schreiben".to_owned()
        }
        FaultKind::HostKey => "herausnehmen; er gehört allein auf den KMS-Host. Die PCs verwenden `kms` mit dem GVLK ihres \
                               Images, der hier nicht stehen muss"
            .to_owned(),
        FaultKind::OemKeyValue => {
            "die Quelle weglassen; bei Windows 7 `in_image` mit den letzten fünf Zeichen des Hersteller-Schlüssels"
                .to_owned()
        }
        FaultKind::PublishedKey { kind: KeyKind::Gvlk } => {
            format!("siehe {GVLK_PAGE}; was dort nicht steht, ist ein Schlüssel vom Typ `mak` oder `retail`")
        }
        FaultKind::PublishedKey { .. } => {
            "`type: gvlk` schreiben, oder die Zeichen des Schlüssels, der gemeint ist".to_owned()
        }
        FaultKind::BudgetOnUncounted { .. } => {
            "`budget` und `reserve` weglassen; sie gelten für Schlüssel vom Typ `mak` und `retail`".to_owned()
        }
        FaultKind::ReserveWithoutBudget => {
            "`budget` ergänzen: wie viele Aktivierungen mit diesem Schlüssel je verbraucht werden dürfen".to_owned()
        }
        FaultKind::ReserveAboveBudget { .. } => {
            "eine Reserve schreiben, die kleiner ist als das Budget; um nichts zu verbrauchen, nur `budget: 0`".to_owned()
        }
        FaultKind::EmptyCommand => {
            "Programm und Argumente als Liste schreiben, etwa [powershell, -File, 'C:\\\\x.ps1']".to_owned()
        }
        FaultKind::ShippedHookName { .. } => "den eigenen Hook anders nennen".to_owned(),

        FaultKind::Calendar(error) => match error {
        CalendarError::NoDate { .. } => "Jahr, Monat und Tag schreiben, etwa 2026-12-24".to_owned(),
        CalendarError::Reversed { .. } => {
            "`from` ist der erste Tag ohne Unterricht, `to` der letzte; einen von beiden berichtigen".to_owned()
        }
        CalendarError::TooLong { .. } => "das Jahr bei `to` prüfen".to_owned(),
        CalendarError::TooMany { .. } => "die Einträge vergangener Jahre entfernen".to_owned(),
        CalendarError::NoSchoolDay => {
            "die Tage mit Unterricht aufzählen, oder `school_days` weglassen für Montag bis Freitag".to_owned()
        }
        },

        FaultKind::ActivationWs(error) => match error {
            AddressError::NotAnAddress => "https://HOST schreiben, mit :PORT und /PFAD, wo es sie gibt".to_owned(),
            AddressError::Credentials => "es weglassen; wer die Profile liest, sähe es".to_owned(),
            AddressError::NotEncrypted => {
                "https:// schreiben, mit `ca_file` für ein eigenes Zertifikat; oder es mit `allow_http: true` hinnehmen"
                    .to_owned()
            }
        },

        FaultKind::Schedule(error) => match error {
            ScheduleError::NotUnderstood { .. } => "`jede Nacht um 02:00`, `jede Schulnacht um 02:00`, `montags und \
                                                    donnerstags um 02:00` oder einen Cron-Ausdruck mit fünf Feldern schreiben"
                .to_owned(),
            ScheduleError::NoSuchTime { .. } => "Stunden und Minuten schreiben, von 00:00 bis 23:59".to_owned(),
            ScheduleError::BadCron { .. } => "die Felder sind Minute, Stunde, Tag, Monat, Wochentag".to_owned(),
            ScheduleError::NeverFires { .. } => "Tag oder Monat berichtigen".to_owned(),
            ScheduleError::TooOften { .. } => "mindestens eine Stunde zwischen zwei Läufen lassen".to_owned(),
            ScheduleError::ReadyBeforeStart { .. } => "den Lauf früher beginnen oder den Raum später fertig sein lassen, 15 \
                                                       Minuten bis 16 Stunden nach dem Beginn"
                .to_owned(),
            ScheduleError::WindowPastReady { .. } => "`window` kürzen oder weglassen".to_owned(),
        },

        FaultKind::EmptyRoom => "seine PCs unter `machines` eintragen oder die Datei löschen".to_owned(),
        FaultKind::DuplicateMachine { .. } => {
            "Namen gelten in der ganzen Schule, ohne Groß und Klein; einen umbenennen".to_owned()
        }
        FaultKind::DuplicateMac { .. } => {
            "die Adresse am PC noch einmal ablesen; Docks und Adapter haben ihre eigene".to_owned()
        }
        FaultKind::DuplicateUuid { .. } => "die UUID am PC noch einmal ablesen; hat der Hersteller allen PCs dieselbe \
                                            gegeben, `uuid` weglassen"
            .to_owned(),
        FaultKind::DanglingImage { near: Some(near), .. }
        | FaultKind::DanglingKey { near: Some(near), .. }
        | FaultKind::DanglingHook { near: Some(near), .. } => format!("war `{near}` gemeint?"),
        FaultKind::DanglingImage { .. } => "in site.yaml unter `images` eintragen".to_owned(),
        FaultKind::DanglingKey { .. } => {
            "in site.yaml unter `keys` eintragen, als Verweis; nie den Schlüssel selbst".to_owned()
        }
        FaultKind::DanglingHook { .. } => {
            "in site.yaml unter `hooks` eintragen; `computer-name` und `activation` bringt Klonwerk mit".to_owned()
        }
        FaultKind::HookTwice { .. } => "einen von beiden behalten".to_owned(),
        FaultKind::HookOrder { .. } => "die Reihenfolge ist: computer-name, dann activation, dann Befehle".to_owned(),
        FaultKind::NoActivationHook { .. } => "`activation` in `hooks` ergänzen oder `activation: none` schreiben".to_owned(),
        FaultKind::FirmwareMismatch { .. } => {
            "ein Image wählen, das an einem PC mit derselben Firmware-Einstellung aufgenommen wurde".to_owned()
        }

        FaultKind::KeyKindMismatch { .. } => {
            "`mak-proxy` braucht einen Schlüssel vom Typ `mak`; `kms` nur den im Image".to_owned()
        }
        FaultKind::KeyEditionMismatch { .. } => "den Schlüssel nennen, der zur Edition des Images gehört".to_owned(),
        FaultKind::GraceOnNewWindows { .. } => "`kms` oder `mak-proxy` verwenden; wer mit den Hinweisen leben will, schreibt \
                                                `grace: { accept_notification: true }`"
            .to_owned(),
        FaultKind::GraceWithMak { .. } => "`mak-proxy` verwenden oder das Image ohne den MAK aufnehmen".to_owned(),
        FaultKind::NotGeneralized { .. } => "am Muster-PC vor der Aufnahme `sysprep /generalize /oobe /shutdown` ausführen \
                                             und `generalized: true` eintragen"
            .to_owned(),
        FaultKind::GraceEnds(plan) => plan.advice(Language::De),
        FaultKind::GraceWithoutSchedule { .. } => {
            "einen `schedule` eintragen oder dafür sorgen, dass jemand rechtzeitig klont".to_owned()
        }
        FaultKind::KmsChannel { .. } => {
            "am Muster-PC den GVLK der Edition eintragen und neu aufnehmen; er ist öffentlich".to_owned()
        }
        FaultKind::KmsSkipRearm { .. } => "den Muster-PC ohne SkipRearm generalisieren und neu aufnehmen".to_owned(),
        FaultKind::MakProxyChannel { .. } => {
            "das Image mit dem MAK oder ohne Schlüssel aufnehmen oder `kms` verwenden".to_owned()
        }
        FaultKind::UnknownFacts { field, .. } => format!("beim Image in site.yaml `{field}` ergänzen"),
        FaultKind::SharedSids { .. } => "den Muster-PC vor der Aufnahme generalisieren; sonst scheitern Freigaben, Drucker \
                                         und Fernzugriff zwischen diesen PCs"
            .to_owned(),
        FaultKind::KmsFewMachines { .. } => "die übrigen PCs am selben Host mitzählen, etwa die der Verwaltung; sind es \
                                             zusammen weniger als 25, `mak-proxy` verwenden"
            .to_owned(),
    }
}

/// The last line.
pub(super) fn total(errors: usize, warnings: usize, more: usize) -> String {
    let warned = if warnings == 1 { "1 Warnung".to_owned() } else { format!("{warnings} Warnungen") };
    let mut out = format!("{errors} Fehler, {warned}");
    if more > 0 {
        out.push_str(&format!("; {more} weitere nicht gezeigt, die ersten {MOST_FAULTS} berichtigen und neu prüfen"));
    }
    out
}

const SLUG: &str = "1 bis 40 Kleinbuchstaben, Ziffern und Bindestriche verwenden, vorn ein Buchstabe oder eine Ziffer";

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape::Text => "ein Text".to_owned(),
        Shape::YesNo => "`true` oder `false`".to_owned(),
        Shape::Number { least, most: u64::MAX } => format!("eine Zahl ab {least}"),
        Shape::Number { least, most } => format!("eine Zahl von {least} bis {most}"),
        Shape::List => "eine Liste".to_owned(),
        Shape::Fields => "Felder".to_owned(),
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Nothing => "nichts".to_owned(),
        Found::Value(text) => format!("`{text}`"),
        Found::List => "eine Liste".to_owned(),
        Found::Fields => "Felder".to_owned(),
    }
}

fn named(named: Named) -> &'static str {
    match named {
        Named::Room => "eines Raums",
        Named::Image | Named::ImageWish => "eines Images",
        Named::Key => "eines Schlüssels",
        Named::Hook => "eines Hooks",
    }
}

fn firmware(kind: FirmwareKind) -> &'static str {
    match kind {
        FirmwareKind::Bios => "BIOS",
        FirmwareKind::Uefi => "UEFI",
    }
}

fn key_kind(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Mak => "MAK",
        KeyKind::Gvlk => "GVLK",
        KeyKind::Retail => "Einzelhandelsschlüssel",
        KeyKind::Oem => "eigener Schlüssel des PCs",
    }
}

fn channel_name(channel: KeyChannel) -> &'static str {
    match channel {
        KeyChannel::Mak => "MAK",
        KeyChannel::Gvlk => "GVLK",
        KeyChannel::Oem => "OEM",
        KeyChannel::Retail => "Einzelhandel",
        KeyChannel::None => "keiner",
    }
}
