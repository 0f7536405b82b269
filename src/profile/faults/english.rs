//! The words of each fault in English.

use super::{FaultKind, Found, MOST_FAULTS, Named, Shape};
use crate::activation::KeyKind;
use crate::activation::activation_ws::AddressError;
use crate::activation::key::GVLK_PAGE;
use crate::calendar::ScheduleError;
use crate::calendar::school::{CalendarError, LONGEST_HOLIDAYS, MOST_HOLIDAYS};
use crate::image::{FirmwareKind, KeyChannel};
use crate::room::Language;

/// What is wrong.
pub(super) fn text(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Unreadable { reason } => format!("this cannot be read: {reason}"),
        FaultKind::NotUtf8 => "this file is not UTF-8 text".to_owned(),
        FaultKind::TooLarge { bytes, most } => {
            format!("this file has {bytes} bytes; a profile has at most {most}")
        }
        FaultKind::EmptyFile => "there is nothing in this file".to_owned(),
        FaultKind::NoSite => "there is no site.yaml in this folder".to_owned(),
        FaultKind::NoRooms => "there is no room; the folder `rooms` has no .yaml file".to_owned(),
        FaultKind::DuplicateFile { name, other } => {
            format!("`{name}` is described twice; the other file is {}", other.display())
        }
        FaultKind::IgnoredFile => "this file is not read; rooms are files that end in .yaml".to_owned(),
        FaultKind::TooManyRooms { most } => format!("there are more than {most} rooms"),
        FaultKind::ProductKey => "here is a product key; whoever reads the profiles can use it up".to_owned(),

        FaultKind::Syntax { message } => format!("this is not YAML: {message}"),
        FaultKind::Tab => "a tab stands where YAML wants blanks".to_owned(),
        FaultKind::TooComplex => "this is nested deeper, or is longer, than any profile".to_owned(),
        FaultKind::SecondDocument => "a second document begins here; a profile is one".to_owned(),
        FaultKind::NotForProfiles => {
            "profiles do without merge keys (`<<`), tags and keys that are not names".to_owned()
        }
        FaultKind::DuplicateKey { key, first_line } => {
            format!("`{key}` stands here a second time; the first is in line {first_line}")
        }

        FaultKind::UnknownField { field, .. } => format!("there is no field `{field}` here"),
        FaultKind::MissingField { field } => format!("`{field}` is missing, or has no value"),
        FaultKind::WrongShape { expected, found } => {
            format!("expected {}, found {}", shape(*expected), self::found(found))
        }
        FaultKind::UnknownChoice { found, .. } => format!("`{found}` is none of the words that can stand here"),
        FaultKind::NotOneChoice { .. } => "exactly one choice can stand here".to_owned(),

        FaultKind::EmptyEntry => "this entry is empty".to_owned(),
        FaultKind::EmptyText => "this text is empty".to_owned(),
        FaultKind::BadName { named, text } => format!("`{text}` cannot be the name of {}", self::named(*named)),
        FaultKind::BadMachineName { text } => format!("`{text}` cannot be a computer name"),
        FaultKind::BadMac { text } => format!("`{text}` is not a MAC address"),
        FaultKind::GroupMac { mac } => format!("{mac} is a group or an empty address, not that of one network card"),
        FaultKind::BadUuid { text } => format!("`{text}` is not a UUID"),
        FaultKind::BlankUuid => "this UUID is the one that firmware gives when it has none".to_owned(),
        FaultKind::BadSize { text } => format!("`{text}` is not a size"),
        FaultKind::SizesCrossed => "the largest disk is smaller than the smallest; no disk fits".to_owned(),
        FaultKind::BadDuration { text } => format!("`{text}` is not a duration"),
        FaultKind::DurationOutside { least, most } => format!("this must be between {least} and {most}"),
        FaultKind::BadAddress { text } => format!("`{text}` is not an IP address"),
        FaultKind::UnusableAddress { text } => format!("no PC can reach a server at {text}"),
        FaultKind::BadPort { port: 0 } => "port 0 is no port".to_owned(),
        FaultKind::BadPort { port } => format!("port {port} is taken by another service of this server"),
        FaultKind::BadTimeZone { text, .. } => format!("`{text}` is not a time zone that this computer knows"),
        FaultKind::BadHost { text } => format!("`{text}` is not a host name"),
        FaultKind::RelativePath { text } => format!("`{text}` is not a full path"),
        FaultKind::BadPartialKey => "these are not the last five characters of a product key".to_owned(),
        FaultKind::KeySources { count: 0 } => "nothing says where this key's value comes from".to_owned(),
        FaultKind::KeySources { count } => format!("this key's value would come from {count} places"),
        FaultKind::HostKey => {
            "this is the key of a KMS host; on a PC it would use up the host's few activations".to_owned()
        }
        FaultKind::OemKeyValue => {
            "a PC's own key comes with the PC; here it would get a value from the server".to_owned()
        }
        FaultKind::PublishedKey { kind: KeyKind::Gvlk } => {
            "no key that Microsoft publishes as GVLK ends like this".to_owned()
        }
        FaultKind::PublishedKey { kind } => {
            format!("a key that ends like this is a published GVLK, not of type `{}`", kind.name())
        }
        FaultKind::BudgetOnUncounted { field, kind } => {
            format!("`{field}` means nothing for a key of type `{}`; nobody counts its activations", kind.name())
        }
        FaultKind::ReserveWithoutBudget => "a reserve without a budget keeps nothing".to_owned(),
        FaultKind::ReserveAboveBudget { reserve, budget } => {
            format!("a reserve of {reserve} leaves nothing to spend of a budget of {budget}")
        }
        FaultKind::EmptyCommand => "this command has no program".to_owned(),
        FaultKind::ShippedHookName { hook } => format!("`{hook}` is the name of a hook that comes with Klonwerk"),

        FaultKind::Calendar(error) => match error {
            CalendarError::NoDate { text } => format!("`{text}` is not a date"),
            CalendarError::Reversed { from, to } => format!("these holidays end on {to}, before they begin on {from}"),
            CalendarError::TooLong { days } => {
                format!("these holidays last {days} days; no holidays last more than {LONGEST_HOLIDAYS}")
            }
            CalendarError::TooMany { count } => {
                format!("{count} entries are listed; a calendar has at most {MOST_HOLIDAYS}")
            }
            CalendarError::NoSchoolDay => {
                "no day of the week is a school day; there would be no school night".to_owned()
            }
        },

        FaultKind::ActivationWs(error) => match error {
            AddressError::NotAnAddress => "this is not the address of a server".to_owned(),
            AddressError::Credentials => "a name or password stands in this address".to_owned(),
            AddressError::NotEncrypted => "confirmation IDs would cross the network in the clear".to_owned(),
        },

        FaultKind::Schedule(error) => match error {
            ScheduleError::NotUnderstood { text } => format!("`{text}` is not a schedule"),
            ScheduleError::NoSuchTime { text } => format!("`{text}` is not a time of day"),
            ScheduleError::BadCron { text } => format!("the cron expression `{text}` has an impossible field"),
            ScheduleError::NeverFires { text } => format!("`{text}` never happens; no year has that day"),
            ScheduleError::TooOften { minutes, .. } => format!("this starts again after only {minutes} minutes"),
            ScheduleError::ReadyBeforeStart { start, ready_by } => {
                format!(
                    "a run that starts at {} cannot be ready by {}",
                    start.strftime("%H:%M"),
                    ready_by.strftime("%H:%M")
                )
            }
            ScheduleError::WindowPastReady { start, window, ready_by } => format!(
                "PCs may begin until {} minutes after {}, but must be ready by {}",
                window.as_secs() / 60,
                start.strftime("%H:%M"),
                ready_by.strftime("%H:%M")
            ),
        },

        FaultKind::EmptyRoom => "this room has no PC".to_owned(),
        FaultKind::DuplicateMachine { name, first } => format!("there is a PC `{name}` already, at {first}"),
        FaultKind::DuplicateMac { mac, first } => format!("{mac} belongs to another PC already, at {first}"),
        FaultKind::DuplicateUuid { uuid, first } => format!("{uuid} belongs to another PC already, at {first}"),
        FaultKind::DanglingImage { image, .. } => format!("site.yaml lists no image `{image}`"),
        FaultKind::DanglingKey { key, .. } => format!("site.yaml lists no key `{key}`"),
        FaultKind::DanglingHook { hook, .. } => format!("there is no hook `{hook}`"),
        FaultKind::HookTwice { hook } => format!("the hook `{hook}` stands here twice"),
        FaultKind::HookOrder { hook, before } => format!("`{hook}` must come before `{before}`"),
        FaultKind::NoActivationHook { strategy } => {
            format!("the strategy `{strategy}` is never applied; the hook `activation` is missing")
        }
        FaultKind::FirmwareMismatch { room, image, name } => {
            format!("these PCs start by {}, the image `{name}` by {}", firmware(*room), firmware(*image))
        }

        FaultKind::KeyKindMismatch { key, kind, strategy } => {
            format!("the strategy `{strategy}` cannot use `{key}`, which is a {}", key_kind(*kind))
        }
        FaultKind::KeyEditionMismatch { key, key_edition, image, image_edition } => {
            format!("`{key}` is a key for {key_edition}, the image `{image}` is {image_edition}")
        }
        FaultKind::GraceOnNewWindows { image, build } => {
            format!("the image `{image}` (build {build}) has hardly any grace; Windows 8 and later remind at once")
        }
        FaultKind::GraceWithMak { image } => {
            format!("the image `{image}` has a MAK inside; Windows would spend it by itself, clone after clone")
        }
        FaultKind::NotGeneralized { image, strategy } => {
            format!("the strategy `{strategy}` needs an image that is generalized; `{image}` is not")
        }
        FaultKind::GraceEnds(plan) => plan.text(Language::En),
        FaultKind::GraceWithoutSchedule { grace_days } => {
            format!(
                "the grace of this Windows ends after {grace_days} days, and no schedule re-clones the room before that"
            )
        }
        FaultKind::KmsChannel { image, channel } => {
            format!("a KMS host needs a GVLK; the key in the image `{image}` is: {}", channel_name(*channel))
        }
        FaultKind::KmsSkipRearm { image } => {
            format!("all clones of `{image}` count as one PC at the KMS host; the image has SkipRearm set")
        }
        FaultKind::MakProxyChannel { image } => {
            format!("the image `{image}` has a GVLK inside, which no confirmation ID activates")
        }
        FaultKind::UnknownFacts { image, strategy, field } => {
            format!("whether `{strategy}` can work is not known; the image `{image}` does not say `{field}`")
        }
        FaultKind::SharedSids { image, build } => {
            format!(
                "clones of `{image}` (build {build}) share their SIDs, which Windows 11 24H2 and later refuses between PCs"
            )
        }
        FaultKind::KmsFewMachines { count } => {
            format!("{count} PCs use KMS; a KMS host activates Windows from 25 PCs on")
        }
    }
}

/// What to do about it.
pub(super) fn advice(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Unreadable { .. } => "check that it exists, is no loop of links, and may be read".to_owned(),
        FaultKind::NotUtf8 => "save it as UTF-8 in your editor".to_owned(),
        FaultKind::TooLarge { .. } => "this is probably another kind of file; move it out of the folder".to_owned(),
        FaultKind::EmptyFile => "write the profile, or delete the file".to_owned(),
        FaultKind::NoSite => "copy site.yaml from the sample school, or name the folder that has it".to_owned(),
        FaultKind::NoRooms => "write a file such as rooms/r101.yaml; the sample school has three".to_owned(),
        FaultKind::DuplicateFile { .. } => "delete or rename one of the two".to_owned(),
        FaultKind::IgnoredFile => "rename it if it is a room, or move it elsewhere".to_owned(),
        FaultKind::TooManyRooms { .. } => "split the school into several folders".to_owned(),
        FaultKind::ProductKey => {
            "take it out, here and in the history of the folder; store the value as a credential, a \
                                  file or an environment variable and name that under `keys` in site.yaml"
                .to_owned()
        }

        FaultKind::Syntax { .. } => {
            "often a colon without a blank after it, a quote that is not closed, or lines that are \
                                     not indented alike; look at the line above too"
                .to_owned()
        }
        FaultKind::Tab => "indent with blanks, two for each step".to_owned(),
        FaultKind::TooComplex => "write it plainly, without nesting and repeated references".to_owned(),
        FaultKind::SecondDocument => "remove the line `---`, or move what follows to a file of its own".to_owned(),
        FaultKind::NotForProfiles => "write out the values".to_owned(),
        FaultKind::DuplicateKey { .. } => "keep one of the two".to_owned(),

        FaultKind::UnknownField { near: Some(near), .. } => format!("did you mean `{near}`?"),
        FaultKind::UnknownField { known, .. } if known.is_empty() => "remove it".to_owned(),
        FaultKind::UnknownField { known, .. } => format!("the fields here are {}", list(known)),
        FaultKind::MissingField { field } => format!("add `{field}:` with its value"),
        FaultKind::WrongShape { expected, .. } => match expected {
            Shape::Text => "write one value on the line".to_owned(),
            Shape::YesNo => "write `true` or `false`, without quotes".to_owned(),
            Shape::Number { .. } => "write a whole number in digits, without quotes or unit".to_owned(),
            Shape::List => "write each entry on a line of its own, after `- `".to_owned(),
            Shape::Fields => "write `name: value` on lines of their own, indented".to_owned(),
        },
        FaultKind::UnknownChoice { near: Some(near), .. } => format!("did you mean `{near}`?"),
        FaultKind::UnknownChoice { choices, .. } | FaultKind::NotOneChoice { choices } => {
            format!("choose one of {}", list(choices))
        }

        FaultKind::EmptyEntry => "fill it in, or remove it".to_owned(),
        FaultKind::EmptyText => "write a text, or remove the field".to_owned(),
        FaultKind::BadName { named: Named::Image, .. } => format!("{SLUG}; the version is not part of it here"),
        FaultKind::BadName { named: Named::ImageWish, .. } => {
            "write name@version, such as win11@2026-11, or a name alone for its newest version".to_owned()
        }
        FaultKind::BadName { named: Named::Room, .. } => format!("rename the file; {SLUG}"),
        FaultKind::BadName { .. } => SLUG.to_owned(),
        FaultKind::BadMachineName { .. } => {
            "Windows takes 1 to 15 letters, digits and hyphens, not only digits, and no \
                                             hyphen at either end"
                .to_owned()
        }
        FaultKind::BadMac { .. } => "write six pairs of hexadecimal digits, such as 52:54:00:12:34:56".to_owned(),
        FaultKind::GroupMac { .. } => {
            "write the address that is printed on the card, or that `getmac` shows".to_owned()
        }
        FaultKind::BadUuid { .. } => {
            "write 8-4-4-4-12 hexadecimal digits, as the firmware set-up shows them".to_owned()
        }
        FaultKind::BlankUuid => "leave `uuid` out for this PC".to_owned(),
        FaultKind::BadSize { .. } => "write a number with its unit, such as 100GB or 240GiB".to_owned(),
        FaultKind::SizesCrossed => "exchange `min_size` and `max_size`, or correct one of them".to_owned(),
        FaultKind::BadDuration { .. } => "write a number with its unit, such as 90s, 2m, 4h or 1h 30m".to_owned(),
        FaultKind::DurationOutside { .. } => {
            "choose a value in between, or leave the field out for the usual one".to_owned()
        }
        FaultKind::BadAddress { .. } => "write it in digits, such as 10.0.0.2".to_owned(),
        FaultKind::UnusableAddress { .. } => "write the server's own address in the network of the PCs".to_owned(),
        FaultKind::BadPort { .. } => "choose another port, or leave the field out for the usual one".to_owned(),
        FaultKind::BadTimeZone { near: Some(near), .. } => format!("did you mean `{near}`?"),
        FaultKind::BadTimeZone { .. } => {
            "write an IANA name, such as Europe/Berlin; on a small Linux the package `tzdata` \
                                          may be missing"
                .to_owned()
        }
        FaultKind::BadHost { .. } => {
            "write a name such as kms.example.school or an address; the port has a field of its own".to_owned()
        }
        FaultKind::RelativePath { .. } => "write it from the root on, such as /etc/klonwerk/mak-win11".to_owned(),
        FaultKind::BadPartialKey => "write the five characters that `slmgr /dli` shows on the master PC".to_owned(),
        FaultKind::KeySources { .. } => {
            "write exactly one of `credential`, `file`, `environment`, `in_image`".to_owned()
        }
        FaultKind::HostKey => {
            "take it out; it belongs on the KMS host alone. The PCs use `kms` with the GVLK of their image, which needs no \
             entry here"
                .to_owned()
        }
        FaultKind::OemKeyValue => {
            "leave the source out; for Windows 7, `in_image` with the last five characters of the vendor's key".to_owned()
        }
        FaultKind::PublishedKey { kind: KeyKind::Gvlk } => {
            format!("look at {GVLK_PAGE}; a key that is not there is a `mak` or `retail` key")
        }
        FaultKind::PublishedKey { .. } => "write `type: gvlk`, or the characters of the key that is meant".to_owned(),
        FaultKind::BudgetOnUncounted { .. } => {
            "leave `budget` and `reserve` out; they are for `mak` and `retail` keys".to_owned()
        }
        FaultKind::ReserveWithoutBudget => {
            "add `budget`, the number of activations that may ever be spent with this key".to_owned()
        }
        FaultKind::ReserveAboveBudget { .. } => {
            "write a reserve that is smaller than the budget; to spend nothing at all write `budget: 0` alone".to_owned()
        }
        FaultKind::EmptyCommand => {
            "write program and arguments as a list, such as [powershell, -File, 'C:\\\\x.ps1']".to_owned()
        }
        FaultKind::ShippedHookName { .. } => "give your hook another name".to_owned(),

        FaultKind::Calendar(error) => match error {
            CalendarError::NoDate { .. } => "write year, month and day, such as 2026-12-24".to_owned(),
            CalendarError::Reversed { .. } => {
                "`from` is the first day without lessons, `to` the last one; correct one of them".to_owned()
            }
            CalendarError::TooLong { .. } => "check the year of `to`".to_owned(),
            CalendarError::TooMany { .. } => "remove those of past years".to_owned(),
            CalendarError::NoSchoolDay => {
                "list the days with lessons, or leave `school_days` out for Monday to Friday".to_owned()
            }
        },

        FaultKind::ActivationWs(error) => match error {
            AddressError::NotAnAddress => "write https://HOST, with :PORT and /PATH where there is one".to_owned(),
            AddressError::Credentials => "leave it out; whoever reads the profiles would see it".to_owned(),
            AddressError::NotEncrypted => {
                "write https://, with `ca_file` for a certificate of your own; or accept it with `allow_http: true`".to_owned()
            }
        },

        FaultKind::Schedule(error) => match error {
            ScheduleError::NotUnderstood { .. } => {
                "write `every night at 02:00`, `every school night at 02:00`, `on monday \
                                                    and thursday at 02:00`, or a cron expression of five fields"
                    .to_owned()
            }
            ScheduleError::NoSuchTime { .. } => "write hours and minutes, from 00:00 to 23:59".to_owned(),
            ScheduleError::BadCron { .. } => "the fields are minute, hour, day of month, month, day of week".to_owned(),
            ScheduleError::NeverFires { .. } => "correct the day or the month".to_owned(),
            ScheduleError::TooOften { .. } => "leave at least an hour between two runs".to_owned(),
            ScheduleError::ReadyBeforeStart { .. } => {
                "let the run start earlier or the room be ready later, 15 minutes to \
                                                       16 hours after the start"
                    .to_owned()
            }
            ScheduleError::WindowPastReady { .. } => "shorten `window`, or leave it out".to_owned(),
        },

        FaultKind::EmptyRoom => "add its PCs under `machines`, or delete the file".to_owned(),
        FaultKind::DuplicateMachine { .. } => {
            "names are unique in the whole school, and case does not count; rename one".to_owned()
        }
        FaultKind::DuplicateMac { .. } => {
            "read the address from the PC again; a dock or adapter has its own".to_owned()
        }
        FaultKind::DuplicateUuid { .. } => {
            "read the UUID from the PC again; where the vendor gave all PCs the same one, leave \
                                            `uuid` out"
                .to_owned()
        }
        FaultKind::DanglingImage { near: Some(near), .. }
        | FaultKind::DanglingKey { near: Some(near), .. }
        | FaultKind::DanglingHook { near: Some(near), .. } => format!("did you mean `{near}`?"),
        FaultKind::DanglingImage { .. } => "add it under `images` in site.yaml".to_owned(),
        FaultKind::DanglingKey { .. } => {
            "add it under `keys` in site.yaml, by reference; never the key itself".to_owned()
        }
        FaultKind::DanglingHook { .. } => {
            "add it under `hooks` in site.yaml; `computer-name` and `activation` come with \
                                           Klonwerk"
                .to_owned()
        }
        FaultKind::HookTwice { .. } => "keep one of the two".to_owned(),
        FaultKind::HookOrder { .. } => "the order is: computer-name, then activation, then commands".to_owned(),
        FaultKind::NoActivationHook { .. } => "add `activation` to `hooks`, or write `activation: none`".to_owned(),
        FaultKind::FirmwareMismatch { .. } => {
            "choose an image that was captured on a PC with the same firmware setting".to_owned()
        }

        FaultKind::KeyKindMismatch { .. } => {
            "`mak-proxy` needs a key of type `mak`; `kms` needs none but the image's own".to_owned()
        }
        FaultKind::KeyEditionMismatch { .. } => "name the key that fits the edition of the image".to_owned(),
        FaultKind::GraceOnNewWindows { .. } => "use `kms` or `mak-proxy`; to live with the reminders write \
                                                `grace: { accept_notification: true }`"
            .to_owned(),
        FaultKind::GraceWithMak { .. } => "use `mak-proxy`, or capture the image without the MAK".to_owned(),
        FaultKind::NotGeneralized { .. } => {
            "run `sysprep /generalize /oobe /shutdown` on the master PC before the capture, \
                                             and say `generalized: true`"
                .to_owned()
        }
        FaultKind::GraceEnds(plan) => plan.advice(Language::En),
        FaultKind::GraceWithoutSchedule { .. } => {
            "add a `schedule`, or see to it that somebody re-clones in time".to_owned()
        }
        FaultKind::KmsChannel { .. } => {
            "install the GVLK of the edition on the master PC and capture again; it is public".to_owned()
        }
        FaultKind::KmsSkipRearm { .. } => "generalize the master PC without SkipRearm, and capture again".to_owned(),
        FaultKind::MakProxyChannel { .. } => "capture the image with the MAK or without a key, or use `kms`".to_owned(),
        FaultKind::UnknownFacts { field, .. } => format!("add `{field}` to the image in site.yaml"),
        FaultKind::SharedSids { .. } => {
            "generalize the master PC before the capture; else shares, printers and remote \
                                         access between these PCs fail"
                .to_owned()
        }
        FaultKind::KmsFewMachines { .. } => {
            "count the other PCs that use the host, those of the offices for example; with \
                                             fewer than 25 in all use `mak-proxy`"
                .to_owned()
        }
    }
}

/// The last line.
pub(super) fn total(errors: usize, warnings: usize, more: usize) -> String {
    let plural = |n: usize, one: &str| if n == 1 { format!("{n} {one}") } else { format!("{n} {one}s") };
    let mut out = format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"));
    if more > 0 {
        out.push_str(&format!("; {more} more are not shown, correct the first {MOST_FAULTS} and check again"));
    }
    out
}

const SLUG: &str = "use 1 to 40 lower-case letters, digits and hyphens, with a letter or digit first";

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn shape(shape: Shape) -> String {
    match shape {
        Shape::Text => "a text".to_owned(),
        Shape::YesNo => "`true` or `false`".to_owned(),
        Shape::Number { least, most: u64::MAX } => format!("a number from {least} on"),
        Shape::Number { least, most } => format!("a number from {least} to {most}"),
        Shape::List => "a list".to_owned(),
        Shape::Fields => "fields".to_owned(),
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Nothing => "nothing".to_owned(),
        Found::Value(text) => format!("`{text}`"),
        Found::List => "a list".to_owned(),
        Found::Fields => "fields".to_owned(),
    }
}

fn named(named: Named) -> &'static str {
    match named {
        Named::Room => "a room",
        Named::Image | Named::ImageWish => "an image",
        Named::Key => "a key",
        Named::Hook => "a hook",
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
        KeyKind::Retail => "retail key",
        KeyKind::Oem => "PC's own key",
    }
}

fn channel_name(channel: KeyChannel) -> &'static str {
    match channel {
        KeyChannel::Mak => "MAK",
        KeyChannel::Gvlk => "GVLK",
        KeyChannel::Oem => "OEM",
        KeyChannel::Retail => "retail",
        KeyChannel::None => "none",
    }
}
