//! The only place that prints. Results go to stdout, everything else to stderr.
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imgforge::model::size::Size;
use imgforge::step::progress::Event;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use super::Global;
use super::config;
use super::report::{Failure, harmless};

/// Standard output and standard error.
pub(crate) struct Screen {
    json: bool,
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
    machine: Option<Descriptor>,
}

/// A file descriptor that another program gave us to write progress to.
pub(crate) type Descriptor = Arc<File>;

/// Opens what is behind a number. Those of standard streams have their own meaning.
pub(crate) fn descriptor(text: &str) -> Result<Descriptor, String> {
    let number: u32 = text.parse().ok().filter(|number| *number > 2).ok_or("write a number above 2")?;
    let open = OpenOptions::new().append(true).open(format!("/dev/fd/{number}"));
    open.map(Arc::new).map_err(|error| format!("descriptor {number} cannot be written to: {error}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Nothing but results and errors.
    Quiet,
    /// A line for each event: for logs, pipes and CI.
    Plain,
    /// A line that moves, under the lines that stay.
    Terminal,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal() && config::text("CI").is_none();
        let style = match (global.quiet, terminal) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        Self { json: global.json, style, bar: Mutex::new(None), machine: global.progress_fd.clone() }
    }

    /// The result of a command: words, or one JSON object.
    pub(crate) fn result(&self, words: &str, object: &serde_json::Value) {
        self.clear();
        // A closed pipe is the reader's wish, not an error.
        let _ = if self.json {
            writeln!(std::io::stdout(), "{object:#}")
        } else {
            writeln!(std::io::stdout(), "{}", words.trim_end())
        };
    }

    /// What was found by a command that fails: its object is part of the failure's.
    pub(crate) fn words(&self, words: &str) {
        if !self.json {
            self.result(words, &serde_json::Value::Null);
        }
    }

    /// Text that is the result, whatever the form asked for: a Dockerfile, a key.
    pub(crate) fn text(&self, text: &str) {
        self.clear();
        let _ = write!(std::io::stdout(), "{text}");
    }

    /// Where a result goes that is bytes: a file of an image.
    pub(crate) fn bytes_out(&self) -> impl std::io::Write + Send + use<> {
        self.clear();
        std::io::stdout()
    }

    /// Something that a person should read, and that stops nothing.
    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("warning: {text}"));
    }

    /// Asks a person for a line, where there is one; an empty line is no answer.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        if self.json || self.style != Style::Terminal || !std::io::stdin().is_terminal() {
            return None;
        }
        self.clear();
        eprint!("{question} ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
    }

    /// The end of a failed command.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        self.clear();
        if self.json {
            let _ = writeln!(std::io::stdout(), "{:#}", failure.object());
        }
        self.tell(&json!({"event": "failed", "code": failure.code()}));
        eprint!("{failure}");
        ExitCode::from(failure.code())
    }

    /// Draws what a step tells.
    pub(crate) fn hear(&self, event: Event<'_>) {
        if self.machine.is_some() {
            self.tell(&object(event));
        }
        match event {
            Event::Warning(text) => self.warn(text),
            Event::Doing(text) => match self.style {
                Style::Terminal => self.spin(text),
                _ => self.line(text),
            },
            Event::StepStarted(name) => match self.style {
                Style::Terminal => self.spin(name),
                _ => self.line(&format!("{} ...", short(name))),
            },
            Event::StepLog(line) if self.style == Style::Plain => self.line(&format!("  | {line}")),
            Event::StepLog(_) | Event::Took { .. } => {}
            Event::StepDone { name, cached: true, .. } => self.line(&format!("{}  cached", short(name))),
            Event::StepDone { name, seconds, .. } => self.line(&format!("{}  {seconds:.1} s", short(name))),
            Event::Bytes { done, total } => self.bytes(done, total),
        }
    }

    /// A line for another program. If that has gone away, the work goes on.
    fn tell(&self, object: &serde_json::Value) {
        if let Some(mut file) = self.machine.as_deref() {
            let _ = file.write_all(format!("{object}\n").as_bytes());
        }
    }

    fn line(&self, text: &str) {
        let text = harmless(text);
        match (self.style, &*self.bar.lock().unwrap_or_else(PoisonError::into_inner)) {
            (Style::Quiet, _) => {}
            (_, Some(bar)) => bar.suspend(|| eprintln!("{text}")),
            (_, None) => eprintln!("{text}"),
        }
    }

    fn spin(&self, text: &str) {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {wide_msg} {elapsed}"));
        bar.set_message(harmless(text));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.replace(Some(bar));
    }

    fn bytes(&self, done: u64, total: u64) {
        if self.style != Style::Terminal {
            return;
        }
        let mut slot = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = slot.as_ref() {
            if bar.length() != Some(total) {
                bar.set_length(total);
                bar.set_style(counting());
            }
            bar.set_position(done);
        }
        if done >= total
            && let Some(bar) = slot.take()
        {
            let text = bar.message();
            bar.finish_and_clear();
            eprintln!("{text}  {} in {:.1} s", Size(total), bar.elapsed().as_secs_f64());
        }
    }

    fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, next: Option<ProgressBar>) {
        let mut slot = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = slot.take() {
            bar.finish_and_clear();
        }
        *slot = next;
    }
}

/// An event as other programs read it; `docs/exit-codes.md` lists them.
fn object(event: Event<'_>) -> serde_json::Value {
    match event {
        Event::Doing(text) => json!({"event": "doing", "text": text}),
        Event::Bytes { done, total } => json!({"event": "bytes", "done": done, "total": total}),
        Event::StepStarted(name) => json!({"event": "step-started", "name": name}),
        Event::StepLog(line) => json!({"event": "step-log", "line": line}),
        Event::StepDone { name, cached, seconds } => {
            json!({"event": "step-done", "name": name, "cached": cached, "seconds": seconds})
        }
        Event::Took { work, file, seconds } => {
            json!({"event": "took", "work": work.name(), "file": file, "seconds": seconds})
        }
        Event::Warning(text) => json!({"event": "warning", "text": text}),
    }
}

/// A step is named after its whole command; the error of a failed one shows all of it.
fn short(name: &str) -> String {
    const LONGEST: usize = 90;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// So early, nobody can tell how long it will take.
const GUESS: Duration = Duration::from_secs(3);

/// How far it is, how fast, and how long it may still take: a guess that only gets shorter, because one
/// that jumps to and fro is none.
fn counting() -> ProgressStyle {
    let shortest = Arc::new(AtomicU64::new(u64::MAX));
    let left = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        if state.elapsed() < GUESS || state.per_sec() < 1.0 {
            return;
        }
        let now = state.eta().as_secs();
        let seconds = shortest.fetch_min(now, Ordering::Relaxed).min(now);
        let _ = match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, seconds) => write!(out, "{seconds} s left"),
            (0, minutes, seconds) => write!(out, "{minutes} min {seconds} s left"),
            (hours, minutes, _) => write!(out, "{hours} h {minutes} min left"),
        };
    };
    let size = |of: fn(&ProgressState) -> u64| {
        move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", Size(of(state)));
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a second, to be shown"
    )]
    let speed = |state: &ProgressState| state.per_sec() as u64;
    style("{spinner} {wide_msg} {done} of {all} {speed}/s {left}")
        .with_key("done", size(ProgressState::pos))
        .with_key("all", size(|state| state.len().unwrap_or_default()))
        .with_key("speed", size(speed))
        .with_key("left", left)
}
