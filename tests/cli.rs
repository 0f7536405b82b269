//! The `klonwerk` command as people and scripts use it: a real server on loopback, asked over its socket.

#![expect(clippy::print_stdout, reason = "a part that is skipped says so")]
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

#[path = "cli/cloning.rs"]
mod cloning;
#[path = "cli/ledger.rs"]
mod ledger;
#[path = "cli/planning.rs"]
mod planning;
#[path = "lab/program.rs"]
mod program;
#[path = "cli/school.rs"]
mod school;
#[path = "cli/sentences.rs"]
mod sentences;
#[path = "cli/serving.rs"]
mod serving;
