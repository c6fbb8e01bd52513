//! `.dockerignore`: the rules of Docker's own matcher (moby/patternmatcher).
//!
//! The last rule that matches decides; `!` takes a path back; a rule that matches a directory
//! matches all below it; `*` stays inside a component and `**` crosses them.

use globset::{GlobBuilder, GlobMatcher};

/// The rules of one `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    matcher: GlobMatcher,
    keeps: bool,
}

/// A rule that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: `{text}` is not a pattern")]
pub struct BadRule {
    line: usize,
    text: String,
    source: globset::Error,
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
            let glob = GlobBuilder::new(&pattern)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|source| BadRule { line: index + 1, text: line.to_owned(), source })?;
            rules.push(Rule { matcher: glob.compile_matcher(), keeps });
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

/// Go's `filepath.Clean` as far as patterns need it, and `{` made literal as Docker has it.
fn clean(pattern: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/").replace('{', "\\{").replace('}', "\\}"))
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
