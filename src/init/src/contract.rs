//! The environment contract: what is given is compared with what the image asks for, and everything
//! that is wrong is said at once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::config::{Config, Variable};
use crate::sound;

/// A container's environment.
pub type Environment = BTreeMap<OsString, OsString>;

/// A key or a token is far smaller; a file that is larger is the wrong one.
const MOST_SECRET: u64 = 64 * 1024;

/// How much of a wrong value is repeated.
const MOST_SHOWN: usize = 60;

/// A variable that is not as the contract asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Which one.
    pub variable: String,
    /// What is wrong; never holds the value of a secret.
    pub what: String,
    /// What should be there.
    pub description: String,
    /// A value that would do.
    pub example: Option<String>,
}

/// Applies the contract: the environment that services get, or everything that is wrong.
///
/// A variable set to the empty string counts as not given, because compose files hand an unset variable
/// on that way. The content of a secret's file becomes the variable, and `NAME_FILE` is removed: services
/// find secrets in one place, and a program that reads both does not find two.
pub fn apply(config: &Config, given: &Environment) -> Result<Environment, Vec<Breach>> {
    let mut environment = given.clone();
    let mut breaches = Vec::new();
    for (name, variable) in &config.env {
        match value(name, variable, given) {
            Ok(Some(value)) => {
                environment.insert(name.into(), value.into());
            }
            Ok(None) => {
                environment.remove(&OsString::from(name));
            }
            Err(what) => breaches.push(Breach {
                variable: name.clone(),
                what,
                description: variable.description.clone(),
                example: variable.example.clone(),
            }),
        }
        if variable.secret {
            environment.remove(&OsString::from(format!("{name}_FILE")));
        }
    }
    if breaches.is_empty() { Ok(environment) } else { Err(breaches) }
}

fn value(name: &str, variable: &Variable, given: &Environment) -> Result<Option<String>, String> {
    let find = |name: &str| given.get(&OsString::from(name)).filter(|value| !value.is_empty());
    let file_name = format!("{name}_FILE");
    let file = find(&file_name).filter(|_| variable.secret);
    let text = match (find(name), file) {
        (Some(_), Some(_)) => return Err(format!("is given twice, as {name} and as {file_name}: keep one")),
        (Some(value), None) => {
            let text = value.to_str().ok_or("is not UTF-8 text")?;
            text.to_owned()
        }
        (None, Some(file)) => {
            secret(Path::new(file)).map_err(|why| format!("is given as {file_name}: {why}"))?
        }
        (None, None) => match &variable.default {
            Some(default) => default.clone(),
            None if variable.required && variable.secret => {
                return Err(format!("is missing, and so is {file_name}"));
            }
            None if variable.required => return Err("is missing".to_owned()),
            None => return Ok(None),
        },
    };
    let Some(pattern) = &variable.pattern else { return Ok(Some(text)) };
    // `sound` refused a configuration whose pattern does not compile.
    let matches = sound::pattern(pattern).is_ok_and(|pattern| pattern.is_match(&text));
    match (matches, variable.secret) {
        (true, _) => Ok(Some(text)),
        (false, true) => Err(format!("does not match {pattern} (a secret, not shown)")),
        (false, false) => Err(format!("is {}, which does not match {pattern}", shown(&text))),
    }
}

/// Reads a secret; errors name the file, never what is in it.
fn secret(path: &Path) -> Result<String, String> {
    let shown = shown(&path.to_string_lossy());
    let failed = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    // Opening a pipe would wait for a writer that may never come.
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_SECRET + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_SECRET {
        return Err(format!("{shown} is larger than {} KiB", MOST_SECRET / 1024));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))?;
    // Editors and `echo` end a file with one line break; more of them are part of the secret.
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    if text.contains('\0') {
        return Err(format!("{shown} holds a NUL byte, which no variable can"));
    }
    Ok(text.to_owned())
}

/// A value in quotes, without control characters and not too long. Addresses are no secrets, and people
/// put passwords into them all the same: what stands before the `@` is not repeated. A password may hold
/// an `@` or a `/` itself, so all up to the last `@` is left out.
fn shown(text: &str) -> String {
    let text = match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => &format!("{scheme}://***@{host}"),
            None => text,
        },
        None => text,
    };
    let mut short: String = text.chars().take(MOST_SHOWN).collect();
    if short.len() < text.len() {
        short.push_str("..");
    }
    format!("{short:?}")
}

/// What a person reads whose container did not start.
pub struct Refusal<'a> {
    /// The image.
    pub tier: &'a str,
    /// What is wrong.
    pub breaches: &'a [Breach],
}

impl Refusal<'_> {
    /// The same for a log of one line per event.
    #[must_use]
    pub fn one_line(&self) -> String {
        let list = self.breaches.iter().map(|Breach { variable, what, description, example }| {
            let example = example.as_ref().map(|value| format!(", for example {value}")).unwrap_or_default();
            format!("{variable} {what} ({description}{example})")
        });
        format!("{} cannot start: {}", self.tier, list.collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.breaches.len();
        let variables = if count == 1 { "variable is" } else { "variables are" };
        writeln!(f, "error: {} cannot start: {count} {variables} wrong in its environment", self.tier)?;
        for Breach { variable, what, description, example } in self.breaches {
            writeln!(f, "  {variable} {what}\n      {description}")?;
            if let Some(example) = example {
                writeln!(f, "      for example {variable}={example}")?;
            }
        }
        write!(
            f,
            "\nhint: give them with `docker run -e NAME=value`, `--env-file FILE` or `environment:` in compose"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(env: &str) -> Config {
        serde_json::from_str(&format!(r#"{{"tier":"oracle","services":{{}},"env":{env}}}"#)).unwrap()
    }

    fn given(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn file(name: &str, content: &[u8]) -> String {
        let path = std::env::temp_dir().join(format!("imgforge-init-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    const KEY: &str = r#"{"KEY":{"description":"a key","secret":true,"required":true,"pattern":"[a-z]+"}}"#;

    fn refusal(env: &str, pairs: &[(&str, &str)]) -> String {
        apply(&config(env), &given(pairs)).unwrap_err().remove(0).what
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let config = config(
            r#"{"A":{"description":"first","required":true,"example":"a-1"},
                "B":{"description":"second","pattern":"[0-9]+"},
                "KEY":{"description":"third","secret":true,"pattern":"[0-9]+"}}"#,
        );
        let breaches = apply(&config, &given(&[("B", "x\u{1b}[31m"), ("KEY", "hunter2")])).unwrap_err();
        let text = Refusal { tier: "oracle", breaches: &breaches }.to_string();
        assert_eq!(
            text,
            "error: oracle cannot start: 3 variables are wrong in its environment
  A is missing
      first
      for example A=a-1
  B is \"x\\u{1b}[31m\", which does not match [0-9]+
      second
  KEY does not match [0-9]+ (a secret, not shown)
      third

hint: give them with `docker run -e NAME=value`, `--env-file FILE` or `environment:` in compose"
        );
    }

    #[test]
    fn a_file_becomes_the_variable_and_its_path_disappears() {
        let path = file("good", b"abc\n");
        let environment = apply(&config(KEY), &given(&[("KEY_FILE", &path), ("KEY", "")])).unwrap();
        assert_eq!(environment, given(&[("KEY", "abc")]));
        let path = file("dos", b"abc\r\n");
        assert_eq!(apply(&config(KEY), &given(&[("KEY_FILE", &path)])).unwrap(), given(&[("KEY", "abc")]));
    }

    #[test]
    fn a_file_that_cannot_be_the_secret() {
        let two = file("two", b"abc\n\n");
        assert_eq!(refusal(KEY, &[("KEY_FILE", &two)]), "does not match [a-z]+ (a secret, not shown)");
        for (name, content, why) in [
            ("empty", &b"\n"[..], "is empty"),
            ("nul", b"a\0b", "NUL"),
            ("latin", b"\xff", "is not UTF-8"),
            ("large", &vec![b'a'; 65 * 1024], "is larger than 64 KiB"),
        ] {
            let path = file(name, content);
            let what = refusal(KEY, &[("KEY_FILE", &path)]);
            assert!(what.starts_with("is given as KEY_FILE: ") && what.contains(why), "{what}");
        }
        assert!(refusal(KEY, &[("KEY_FILE", "/nonexistent")]).contains("No such file"));
        assert!(refusal(KEY, &[("KEY_FILE", "/dev/zero")]).contains("is not a file"));
        assert_eq!(
            refusal(KEY, &[("KEY_FILE", &two), ("KEY", "abc")]),
            "is given twice, as KEY and as KEY_FILE: keep one"
        );
        assert_eq!(refusal(KEY, &[]), "is missing, and so is KEY_FILE");
    }

    #[test]
    fn the_password_of_an_address_is_not_repeated() {
        let env = r#"{"URL":{"description":"x","pattern":"https://[^@]+"}}"#;
        for (given, shown) in [
            ("https://user:hunter2@host/path", "https://***@host/path"),
            ("https://user:a@b/c@host", "https://***@host"),
            ("ftp://host/x", "ftp://host/x"),
        ] {
            let what = refusal(env, &[("URL", given)]);
            assert_eq!(what, format!("is {shown:?}, which does not match https://[^@]+"));
        }
    }

    #[test]
    fn an_empty_value_counts_as_none() {
        let config = config(r#"{"A":{"description":"x","default":"1"},"B":{"description":"x"}}"#);
        let environment = apply(&config, &given(&[("A", ""), ("B", ""), ("C", "")])).unwrap();
        assert_eq!(environment, given(&[("A", "1"), ("C", "")]));
    }

    #[test]
    fn the_path_of_something_that_is_no_secret_is_left_alone() {
        let config = config(r#"{"A":{"description":"x"}}"#);
        let all = given(&[("A", "1"), ("A_FILE", "/nonexistent")]);
        assert_eq!(apply(&config, &all).unwrap(), all);
    }
}
