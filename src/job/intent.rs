//! Intents: something that a person or the schedule asked for. Each one has a window and expires with it, so that nothing
//! formats a PC in the morning because it missed the night.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RunId;
use crate::room::{ImageWish, RoomName, Selection};

/// The number of an intent, counted from 1 and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum IntentKind {
    /// Bring the machines back to an image.
    Reclone {
        /// Another image than the room's own.
        image: Option<ImageWish>,
    },
    /// Try the machines of a run again that failed in it.
    Retry {
        /// The run.
        run: RunId,
    },
    /// Stop a run, as far as no disk is half written.
    Cancel {
        /// The run.
        run: RunId,
    },
}

/// An intent before it has a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIntent {
    /// The room.
    pub room: RoomName,
    /// Which of its machines.
    pub selection: Selection,
    /// Who asked: a person's name, or `schedule`.
    pub asked_by: String,
    /// It does nothing before.
    pub not_before: Timestamp,
    /// It does nothing from here on.
    pub expires_at: Timestamp,
    /// What to do.
    pub kind: IntentKind,
}

/// Something asked for, which expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number.
    pub id: IntentId,
    /// The room.
    pub room: RoomName,
    /// Which of its machines.
    pub selection: Selection,
    /// Who asked: a person's name, or `schedule`.
    pub asked_by: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// It does nothing before.
    pub not_before: Timestamp,
    /// It does nothing from here on.
    pub expires_at: Timestamp,
    /// What to do.
    pub kind: IntentKind,
}

/// What the time says about an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its window has not begun.
    Early,
    /// It may act.
    Due,
    /// Its window is over, and it never acts.
    Expired,
}

impl Intent {
    /// What `now` says about it. A window that ends before it begins never acts.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if now >= self.expires_at {
            Standing::Expired
        } else if now < self.not_before {
            Standing::Early
        } else {
            Standing::Due
        }
    }
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "was")]
pub enum IntentOutcome {
    /// It became a run.
    Started {
        /// The run.
        run: RunId,
    },
    /// It was done, and needed no run of its own.
    Done,
    /// It could not be done.
    Refused {
        /// Why not.
        why: String,
    },
    /// Its window ended before it could act.
    Expired,
    /// It was taken back.
    Withdrawn {
        /// By whom.
        by: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn acts_inside_its_window_only() {
        let intent = Intent {
            id: IntentId(1),
            room: "r101".parse().expect("room"),
            selection: Selection::default(),
            asked_by: "schedule".into(),
            asked_at: at(0),
            not_before: at(100),
            expires_at: at(200),
            kind: IntentKind::Reclone { image: None },
        };
        let seen: Vec<Standing> = [0, 99, 100, 199, 200, 10_000].map(|s| intent.standing(at(s))).to_vec();
        use Standing::{Due, Early, Expired};
        assert_eq!(seen, [Early, Early, Due, Due, Expired, Expired]);
        let backwards = Intent { not_before: at(200), expires_at: at(100), ..intent };
        assert!((0..300).all(|s| backwards.standing(at(s)) != Due));
    }
}
