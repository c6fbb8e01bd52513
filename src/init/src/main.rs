//! `imgforge-init`: process 1 of an image that imgforge built.
//!
//! It enforces the environment contract, starts services in the order of their needs, restarts and stops
//! them, reaps what they leave behind, and asks health probes. What it does is described in
//! `docs/runtime.md`; what it is told is `/etc/imgforge/init.json`, defined in `src/model/runtime` of
//! imgforge and included here, so that both sides have one definition.
//!
//! One thread, no `unsafe`, no allocation that grows with time.

#[path = "../../model/runtime/address.rs"]
mod address;
mod arguments;
#[path = "../../model/runtime/config.rs"]
mod config;
mod contract;
mod heap;
mod log;
mod probe;
mod process;
mod run;
#[path = "../../model/runtime/sound.rs"]
mod sound;
mod status;
mod supervisor;
mod unit;

use std::fs::File;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use arguments::{Call, Question};
use config::Config;
use contract::{Environment, Refusal};
use log::{Format, Level, Log};

/// Wrong arguments, or an environment that breaks the contract (`EX_USAGE`).
const USAGE: u8 = 64;
/// A bug in here (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;
/// The system refuses something that a container always has (`EX_OSERR`).
const SYSTEM: u8 = 71;
/// The image is broken (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// A configuration that is larger was not written by imgforge.
const MOST_CONFIG: u64 = 1 << 20;

/// Says what went wrong, for a person: nothing runs yet, so there is no log to keep in form.
struct Failed(u8, String);

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        log::print(&format!("error: imgforge-init has a bug: {panic}"));
        std::process::exit(i32::from(INTERNAL));
    }));
    let arguments = std::env::args_os().skip(1);
    let done = match arguments::parse(arguments) {
        Ok(Call::Run { config }) => run(&config),
        Ok(Call::Check { config }) => check(&config),
        Ok(Call::Probe { question, limit }) => ask(question, limit),
        Ok(Call::Say(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(0)
        }
        Err(text) => Err(Failed(USAGE, text)),
    };
    let code = done.unwrap_or_else(|Failed(code, text)| {
        log::print(&text);
        code
    });
    ExitCode::from(code)
}

fn run(path: &Path) -> Result<u8, Failed> {
    let system =
        |what: &'static str| move |error: std::io::Error| Failed(SYSTEM, format!("error: {what}: {error}"));
    let signals = run::Signals::install().map_err(system("cannot listen to signals"))?;
    let given: Environment = std::env::vars_os().collect();
    let format = format(&given)?;
    let log = Log { format: format.unwrap_or(by_terminal()) };
    let config = load(path)?;
    let environment = contract::apply(&config, &given).map_err(|breaches| {
        let refusal = Refusal { tier: &config.tier, breaches: &breaches };
        match format {
            Some(Format::Json) => Failed(USAGE, log.line(Level::Error, None, &refusal.one_line())),
            _ => Failed(USAGE, refusal.to_string()),
        }
    })?;
    if std::process::id() != 1 {
        // Orphans go to the nearest ancestor that wants them; with process 1, that is nobody else.
        let own = rustix::process::getpid();
        let adopted = rustix::process::set_child_subreaper(Some(own));
        adopted.map_err(|error| Failed(SYSTEM, format!("error: cannot adopt orphans: {error}")))?;
    }
    let listener = status::open(path).map_err(system("cannot open the status socket"))?;
    let helper = std::env::current_exe().map_err(system("cannot find this program"))?;
    let helper = helper
        .to_str()
        .ok_or_else(|| Failed(SYSTEM, "error: this program's path is not UTF-8".to_owned()))?;
    Ok(run::run(&config, &environment, signals, &listener, helper, log))
}

/// Everything that can be known without starting anything: first the image, then its environment.
fn check(path: &Path) -> Result<u8, Failed> {
    let config = load(path)?;
    let given: Environment = std::env::vars_os().collect();
    format(&given)?;
    contract::apply(&config, &given)
        .map_err(|breaches| Failed(USAGE, Refusal { tier: &config.tier, breaches: &breaches }.to_string()))?;
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (variables, services) =
        (count(config.env.len(), "variable"), count(config.services.len(), "service"));
    let text = format!("{}: {variables} and {services} are as they should be\n", config.tier);
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}

/// A health check ends with 0 or 1; engines reserve the other codes.
fn ask(question: Question, limit: Duration) -> Result<u8, Failed> {
    let answer = match question {
        Question::Http(url) => probe::http(&url, limit),
        Question::Tcp(port) => probe::tcp(port, limit),
        Question::Services { config } => status::ask(&config, limit)
            .and_then(|status| if status.ready { Ok(()) } else { Err(status.complaint()) }),
    };
    answer.map(|()| 0).map_err(|why| Failed(1, format!("unhealthy: {why}")))
}

fn load(path: &Path) -> Result<Config, Failed> {
    let broken = |why: String| Failed(CONFIG, format!("error: {}: {why}", path.display()));
    let mut text = String::new();
    let file = File::open(path).and_then(|file| file.take(MOST_CONFIG).read_to_string(&mut text));
    file.map_err(|error| broken(error.to_string()))?;
    let config: Config = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    let problems = sound::problems(&config);
    if problems.is_empty() {
        return Ok(config);
    }
    let list = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
    Err(broken(format!("this cannot work\n  {list}")))
}

fn format(given: &Environment) -> Result<Option<Format>, Failed> {
    let value = given.get(std::ffi::OsStr::new("IMGFORGE_LOG")).filter(|value| !value.is_empty());
    match value.map(|value| value.to_str()) {
        None => Ok(None),
        Some(Some("json")) => Ok(Some(Format::Json)),
        Some(Some("text")) => Ok(Some(Format::Text)),
        Some(_) => Err(Failed(USAGE, "error: IMGFORGE_LOG is `json` or `text`".to_owned())),
    }
}

fn by_terminal() -> Format {
    if std::io::stderr().is_terminal() { Format::Text } else { Format::Json }
}
