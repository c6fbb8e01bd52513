//! A Dockerfile that a project has already, and that a tier starts from.
//!
//! It is not understood, only continued: imgforge's stages are written below it. So it may not
//! change what the text below it means, and its stages may not have the names of tiers.

use crate::model::recipe::Dockerfile;
use crate::model::recipe::family::Family;
use crate::model::recipe::parse::Finding;
use crate::model::words::quoted;

/// Checks that the text can be continued.
pub fn check(own: &Dockerfile, text: &str, family: &Family) -> Result<(), Finding> {
    let root = &family.generations()[0].tree;
    let wrong = |key: &str, reason: String, fix: &str| {
        Err(Finding::at(&root.place_of(["base", "dockerfile", key]), reason).fix(fix))
    };
    for directive in directives(text) {
        let (name, fix) = match directive {
            "syntax" => {
                ("# syntax=", "remove that line: it makes the builder load a frontend from a registry")
            }
            "escape" => ("# escape=", "remove that line, and write `\\` at the end of continued lines"),
            _ => continue,
        };
        return wrong("path", format!("`{}` has a `{name}` line", own.path), fix);
    }
    let stages = stages(text);
    if !stages.contains(&own.target) {
        let known = match stages[..] {
            [] => "no named stage; write `FROM .. AS name`".to_owned(),
            _ => quoted(&stages),
        };
        return wrong(
            "target",
            format!("`{}` has no stage `{}`", own.path, own.target),
            &format!("it has {known}"),
        );
    }
    let tiers = family.generations().iter().map(|generation| generation.tier.as_str());
    match tiers.into_iter().find(|tier| stages.iter().any(|stage| stage == tier)) {
        Some(tier) => wrong(
            "path",
            format!("`{}` has a stage `{tier}`, which is the name of a tier", own.path),
            "rename the stage",
        ),
        None => Ok(()),
    }
}

/// Parser directives: comments of the form `# name=value` before anything else.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map_while(|line| {
        let (name, _) = line.trim().strip_prefix('#')?.split_once('=')?;
        Some(name.trim())
    })
}

/// Names of the stages, lower case as the frontend keeps them.
fn stages(text: &str) -> Vec<String> {
    let instructions = text.replace("\\\n", " ");
    let name = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let from = words.first()?.eq_ignore_ascii_case("from");
        let [.., keyword, name] = words[..] else { return None };
        (from && keyword.eq_ignore_ascii_case("as")).then(|| name.to_ascii_lowercase())
    };
    instructions.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_other_line() {
        let found = |text| directives(text).collect::<Vec<&str>>();
        assert_eq!(found("# syntax=docker/dockerfile:1\n#escape = `\nFROM x"), ["syntax", "escape"]);
        assert!(found("# a comment\n# syntax=x\n").is_empty());
    }

    #[test]
    fn stages_are_found_in_any_spelling() {
        let text = "FROM a AS One\nfrom --platform=x b \\\n  as two\nFROM c\nRUN echo FROM d AS three\n";
        assert_eq!(stages(text), ["one", "two"]);
    }
}
