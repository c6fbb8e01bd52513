//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::LocalUrl;

/// Where an image has its configuration.
const CONFIG_PATH: &str = "/etc/imgforge/init.json";

const HELP: &str = "\
imgforge-init: process 1 of an image that imgforge built

  imgforge-init                     check the environment, run the services
  imgforge-init check               check configuration and environment, start nothing
  imgforge-init probe services      are all services ready?
  imgforge-init probe http URL      does http://127.0.0.1:PORT/PATH answer 2xx?
  imgforge-init probe tcp PORT      does this port accept connections?
  imgforge-init --version

  --config FILE      instead of /etc/imgforge/init.json
  --timeout TIME     of a probe, such as 5 (seconds) or 500ms; default 5

IMGFORGE_LOG=json or =text sets the form of log lines; else a terminal gets text, all others JSON.
A probe ends with 0 or 1. Exit codes of a run are in imgforge's docs/runtime.md.
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Run the services.
    Run { config: PathBuf },
    /// Check, start nothing.
    Check { config: PathBuf },
    /// Ask about health.
    Probe { question: Question, limit: Duration },
    /// Print this.
    Say(String),
}

/// About whose health.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// A URL.
    Http(LocalUrl),
    /// A port.
    Tcp(u16),
    /// All services of the helper that runs by this configuration.
    Services { config: PathBuf },
}

/// Reads the command line; a message for whoever typed it where it is wrong.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Call, String> {
    let mut config = PathBuf::from(CONFIG_PATH);
    let mut limit = Duration::from_secs(5);
    let mut words = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| format!("error: {} needs a value", argument.display()));
        match argument.to_str() {
            Some("--config") => config = value()?.into(),
            Some("--timeout") => {
                let text = value()?;
                limit = text
                    .to_str()
                    .and_then(time)
                    .ok_or("error: --timeout takes `5` for seconds, or `500ms`")?;
            }
            Some("--help" | "-h") => return Ok(Call::Say(HELP.to_owned())),
            Some("--version" | "-V") => {
                return Ok(Call::Say(concat!("imgforge-init ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
            }
            Some(word) if !word.starts_with('-') => words.push(word.to_owned()),
            _ => return Err(unknown(&argument.to_string_lossy())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let question = match words[..] {
        [] => return Ok(Call::Run { config }),
        ["check"] => return Ok(Call::Check { config }),
        ["probe", "services"] => Question::Services { config },
        ["probe", "http", url] => Question::Http(url.parse().map_err(|why| format!("error: {why}"))?),
        ["probe", "tcp", port] => match port.parse() {
            Ok(port) if port > 0 => Question::Tcp(port),
            _ => return Err(format!("error: {port:?} is not a port: use 1 to 65535")),
        },
        ["probe", ..] => return Err("error: probe what? `services`, `http URL` or `tcp PORT`".to_owned()),
        [word, ..] => return Err(unknown(word)),
    };
    Ok(Call::Probe { question, limit })
}

/// Seconds, or milliseconds that say so. No fractions: reading them would cost 30 kB.
fn time(text: &str) -> Option<Duration> {
    let time = match text.strip_suffix("ms") {
        Some(milliseconds) => Duration::from_millis(milliseconds.parse().ok()?),
        None => Duration::from_secs(text.parse().ok()?),
    };
    (!time.is_zero()).then_some(time)
}

/// Words after an image's name land here, where people expect to start another program.
fn unknown(word: &str) -> String {
    format!(
        "error: this image runs its services and takes no command, but was given {word:?}\n\n\
         hint: to look inside, `docker run --rm -it --entrypoint sh IMAGE`; see also `imgforge-init --help`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Result<Call, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn calls() {
        let config = PathBuf::from(CONFIG_PATH);
        assert_eq!(call(&[]), Ok(Call::Run { config: config.clone() }));
        assert_eq!(call(&["check", "--config", "x"]), Ok(Call::Check { config: "x".into() }));
        let tcp = |limit| Ok(Call::Probe { question: Question::Tcp(3000), limit });
        assert_eq!(call(&["probe", "tcp", "3000"]), tcp(Duration::from_secs(5)));
        assert_eq!(call(&["probe", "tcp", "3000", "--timeout", "500ms"]), tcp(Duration::from_millis(500)));
        let services = Question::Services { config };
        let limit = Duration::from_secs(5);
        assert_eq!(call(&["probe", "services"]), Ok(Call::Probe { question: services, limit }));
    }

    #[test]
    fn refusals() {
        for (words, why) in [
            (&["sh"][..], "takes no command"),
            (&["-c", "x"], "takes no command"),
            (&["probe"], "probe what?"),
            (&["probe", "tcp", "0"], "not a port"),
            (&["probe", "http", "http://example.com"], "is not an address of this container"),
            (&["probe", "tcp", "1", "--timeout", "0"], "for seconds"),
            (&["probe", "tcp", "1", "--timeout", "-1"], "for seconds"),
            (&["--config"], "needs a value"),
        ] {
            let error = call(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}
