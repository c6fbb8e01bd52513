//! `.dockerignore`: the rules of Docker's own matcher (moby/patternmatcher).
//!
//! The last rule that matches decides; `!` takes a path back; a rule that matches a directory
//! matches all below it; `*` stays inside a component and `**` crosses them.

use regex::Regex;

/// The rules of one `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    matcher: Regex,
    keeps: bool,
}

/// A rule that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: `{text}` is not a pattern")]
pub struct BadRule {
    line: usize,
    text: String,
    source: regex::Error,
}

impl Ignore {
    /// Parses the text of a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Self, BadRule> {
        let text = text.trim_start_matches('\u{feff}');
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let Some(pattern) = clean(pattern) else {
                continue;
            };
            let matcher = Regex::new(&expression(&pattern)).map_err(|source| BadRule {
                line: index + 1,
                text: line.to_owned(),
                source,
            })?;
            rules.push(Rule { matcher, keeps });
        }
        Ok(Self { rules })
    }

    /// Whether a `/`-separated path relative to the context is left out.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for rule in &self.rules {
            if rule.keeps == excluded && self_and_parents(path).any(|path| rule.matcher.is_match(path)) {
                excluded = !rule.keeps;
            }
        }
        excluded
    }

    /// Whether nothing below an excluded directory can come back, so that it need not be walked.
    #[must_use]
    pub fn prunes(&self) -> bool {
        self.rules.iter().all(|rule| !rule.keeps)
    }
}

fn self_and_parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).chain([path])
}

/// Go's `filepath.Clean` as far as patterns need it.
fn clean(pattern: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The expression that Docker makes of a pattern. A leading `**` before plain text is any ending
/// (`**.pem` is every name that ends so); elsewhere `**` is any number of whole components.
fn expression(pattern: &str) -> String {
    if let Some(ending) = pattern.strip_prefix("**")
        && !ending.starts_with('/')
        && !ending.contains(['*', '?', '[', '\\'])
    {
        return format!("^(?s:.*){}$", regex::escape(ending));
    }
    let mut expression = String::from("^");
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                expression.push_str(if rest.peek().is_none() { "(?s:.*)" } else { "(?s:.*/)?" });
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '[' | ']' | '-' => expression.push(c),
            // Inside brackets, `^` negates; a bracket was opened before it.
            '^' if expression.ends_with('[') => expression.push(c),
            '\\' => expression.extend(rest.next().map(|next| regex::escape(&next.to_string()))),
            c => expression.push_str(&regex::escape(&c.to_string())),
        }
    }
    expression + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases and answers of moby/patternmatcher v0.6's own documentation and tests.
    #[test]
    fn agrees_with_docker() {
        for (rules, path, excluded) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**file", "dir/dir/file", true),
            ("**.pem", "x/sub/key.pem", true),
            ("**secret", "x/mysecret", true),
            ("**/*.pem", "x/sub/key.pem", true),
            ("**/*.pem", "key.pem", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/**/file", "a/b/c/file", true),
            ("a[^b]c", "adc", true),
            ("a[^b]c", "abc", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("a.c", "abc", false),
            ("a+(b)", "a+(b)", true),
            ("**/file", "dir/file", true),
            ("*/file", "dir/file", true),
            ("*/file", "a/b/file", false),
            ("a*.txt", "abc.txt", true),
            ("a?c", "abc", true),
            ("a[b-d]e", "ace", true),
            ("abc", "abc/def", true),
            ("abc", "abcd", false),
            ("/abc", "abc", true),
            ("./abc/", "abc", true),
            ("*\n!keep", "keep", false),
            ("*\n!keep", "keep/below", false),
            ("dir\n!dir/keep\n", "dir/keep", false),
            ("dir\n!dir/keep\n", "dir/other", true),
            ("!keep\n*", "keep", true),
            ("# abc\n\n  abc  ", "abc", true),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            (".env*", ".env.local", true),
        ] {
            assert_eq!(Ignore::parse(rules).unwrap().excludes(path), excluded, "{rules:?} on {path}");
        }
    }

    #[test]
    fn a_broken_pattern_names_its_line() {
        let refusal = Ignore::parse("ok\n[a").unwrap_err().to_string();
        insta::assert_snapshot!(refusal, @"line 2: `[a` is not a pattern");
    }
}
