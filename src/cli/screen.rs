//! The only place that prints. Results go to stdout, everything else to stderr.
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use imgforge::step::progress::Event;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::Global;
use super::config;
use super::report::{Failure, harmless};

/// Standard output and standard error.
pub(crate) struct Screen {
    json: bool,
    style: Style,
    bar: Mutex<Option<ProgressBar>>,
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
        Self { json: global.json, style, bar: Mutex::new(None) }
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

    /// The end of a failed command.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        self.clear();
        if self.json {
            let _ = writeln!(std::io::stdout(), "{:#}", failure.object());
        }
        eprint!("{failure}");
        ExitCode::from(failure.code())
    }

    /// Draws what a step tells.
    pub(crate) fn hear(&self, event: Event<'_>) {
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
            Event::StepLog(_) => {}
            Event::StepDone { name, cached: true, .. } => self.line(&format!("{}  cached", short(name))),
            Event::StepDone { name, seconds, .. } => self.line(&format!("{}  {seconds:.1} s", short(name))),
            Event::Bytes { done, total } => self.bytes(done, total),
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
                bar.set_style(style("{spinner} {wide_msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
            }
            bar.set_position(done);
        }
        if done >= total
            && let Some(bar) = slot.take()
        {
            let text = bar.message();
            bar.finish_and_clear();
            eprintln!("{text}  {} in {:.1} s", HumanBytes(total), bar.elapsed().as_secs_f64());
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
