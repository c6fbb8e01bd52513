//! Tests of the recipe that need no process: they look at files.

use super::verdict::{failed, pattern_of};
use super::{Charter, Evidence, Finding};
use crate::model::listing::What;
use crate::model::recipe::Test;
use crate::model::recipe::proof::{FileTest, UserTest};

/// Paths whose content [`files`] and the search for libraries read.
#[must_use]
pub fn wanted(charter: &Charter) -> Vec<String> {
    let tests = charter.settings.tests.values().filter_map(|test| match test {
        Test::File(FileTest { path, contains: Some(_), .. }) => Some(path.trim_start_matches('/').to_owned()),
        Test::User(_) => Some(PASSWD.to_owned()),
        _ => None,
    });
    tests.chain([super::libraries::CACHE.to_owned()]).collect()
}

const PASSWD: &str = "etc/passwd";

/// Tests that need no process.
pub(super) fn files(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let judged = charter.settings.tests.iter().filter_map(|(name, test)| {
        let reason = match test {
            Test::File(test) => file(evidence, test)?,
            Test::Absent(path) => {
                evidence
                    .files
                    .follow(path)
                    .or_else(|| evidence.files.at(path).map(|node| (String::new(), node)))?;
                format!("`{path}` is in the image")
            }
            Test::User(test) => user(evidence, test)?,
            Test::Command(_) | Test::Port(_) => return None,
        };
        Some(failed(charter, name, reason))
    });
    judged.collect()
}

fn file(evidence: &Evidence, test: &FileTest) -> Option<String> {
    let path = &test.path;
    let Some((_, node)) = evidence.files.follow(path) else {
        return Some(format!("`{path}` is not in the image"));
    };
    if let Some(mode) = test.mode.filter(|mode| mode.0 != node.mode) {
        return Some(format!("`{path}` has mode {:04o} instead of {mode}", node.mode));
    }
    if let Some(owner) = test.owner
        && (u64::from(owner.uid), u64::from(owner.gid)) != (node.uid, node.gid)
    {
        return Some(format!("`{path}` belongs to {}:{} instead of {owner}", node.uid, node.gid));
    }
    let pattern = test.contains.as_ref()?;
    if !matches!(node.what, What::File(_)) {
        return Some(format!("`{path}` is not a file"));
    }
    let Some(content) = evidence.contents.get(path.trim_start_matches('/')) else {
        return Some(format!("`{path}` is too large to be searched"));
    };
    match pattern_of(pattern) {
        Ok(regex) if regex.is_match(content) => None,
        Ok(_) => Some(format!("`{path}` does not contain `{pattern}`")),
        Err(_) => Some(format!("`{pattern}` is not a regular expression")),
    }
}

fn user(evidence: &Evidence, test: &UserTest) -> Option<String> {
    let users = evidence.contents.get(PASSWD).map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let uid = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(test.name.as_str())).then(|| fields.nth(1).unwrap_or_default().to_owned())
    });
    match uid {
        Some(uid) if uid == test.uid.to_string() => None,
        Some(uid) => Some(format!("user `{}` has number {uid} instead of {}", test.name, test.uid)),
        None => Some(format!("there is no user `{}`", test.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::tests::listing;

    #[test]
    fn files_are_looked_at() {
        let recipe = "[tests.a]\nabsent = '/usr/bin/npm'\n[tests.b.file]\npath = '/x'\nmode = '0644'\n[tests.c.file]\npath = '/x'\nowner = '1:1'\n[tests.d.file]\npath = '/y'\n[tests.e.user]\nname = 'app'\nuid = 7\n[tests.f.file]\npath = '/x'\ncontains = 'b'\n";
        let mut evidence =
            Evidence { files: listing(&[&["0600 x", "usr/bin/npm -> nowhere"]]), ..Evidence::default() };
        evidence.contents.insert("x".to_owned(), b"a".to_vec());
        evidence.contents.insert(PASSWD.to_owned(), b"app:x:8:8::/:/bin/sh\n".to_vec());
        let reasons: Vec<String> =
            files(&Charter::sample(recipe), &evidence).into_iter().map(|finding| finding.reason).collect();
        insta::assert_snapshot!(reasons.join("\n"), @"
        test `a` failed: `/usr/bin/npm` is in the image
        test `b` failed: `/x` has mode 0600 instead of 0644
        test `c` failed: `/x` belongs to 0:0 instead of 1:1
        test `d` failed: `/y` is not in the image
        test `e` failed: user `app` has number 8 instead of 7
        test `f` failed: `/x` does not contain `b`
        ");
    }
}
