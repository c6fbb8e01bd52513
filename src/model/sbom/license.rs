//! Names of licences: Debian's, and as SPDX expressions.

use std::collections::BTreeSet;

use super::debian::paragraphs;

/// Names in a machine-readable Debian copyright file; none where it is prose.
pub(super) fn copyright(text: &str) -> BTreeSet<String> {
    let mut paragraphs = paragraphs(text);
    if !paragraphs.next().is_some_and(|head| head.contains_key("Format")) {
        return BTreeSet::new();
    }
    let names = paragraphs.filter_map(|fields| {
        let name = fields.get("License")?.lines().next()?.trim().to_owned();
        (!name.is_empty()).then_some(name)
    });
    names.collect()
}

/// One expression for all names, where SPDX knows every one of them.
pub(super) fn expression(names: &BTreeSet<String>) -> Option<String> {
    let parts: Option<BTreeSet<String>> = names.iter().map(|name| known(name)).collect();
    let parts: Vec<String> = parts?.into_iter().collect();
    match &parts[..] {
        [] => None,
        [one] => Some(one.clone()),
        several => {
            let enclosed =
                several.iter().map(|one| if one.contains(' ') { format!("({one})") } else { one.clone() });
            Some(enclosed.collect::<Vec<_>>().join(" AND "))
        }
    }
}

/// A name as an expression, if SPDX knows what it says.
pub(super) fn known(name: &str) -> Option<String> {
    let words: Vec<String> = name
        .split_whitespace()
        .map(|word| match word {
            "and" | "AND" | "or" | "OR" | "with" | "WITH" => word.to_uppercase(),
            _ => translated(word),
        })
        .collect();
    let text = words.join(" ");
    spdx::Expression::parse(&text).is_ok().then_some(text)
}

/// Debian's name of a licence, as SPDX has it.
fn translated(word: &str) -> String {
    let later = word.ends_with('+');
    let plain = word.trim_end_matches('+');
    match plain {
        "Expat" => return "MIT".to_owned(),
        "BSD-3-clause" => return "BSD-3-Clause".to_owned(),
        "BSD-2-clause" => return "BSD-2-Clause".to_owned(),
        "zlib" => return "Zlib".to_owned(),
        "Apache-2" => return "Apache-2.0".to_owned(),
        _ => {}
    }
    let Some((family, version)) = plain.split_once('-') else { return word.to_owned() };
    if !["GPL", "LGPL", "AGPL", "GFDL"].contains(&family) || version.contains('-') {
        return word.to_owned();
    }
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    format!("{family}-{version}-{}", if later { "or-later" } else { "only" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_names_become_spdx_expressions() {
        let expression = |names: &[&str]| expression(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(expression(&["GPL-2+", "Expat"]).as_deref(), Some("GPL-2.0-or-later AND MIT"));
        assert_eq!(expression(&["MIT or Apache-2.0", "ISC"]).as_deref(), Some("ISC AND (MIT OR Apache-2.0)"));
        assert_eq!(expression(&["public-domain"]), None);
        assert_eq!(expression(&[]), None);
    }
}
