//! What a layer changes: its normal form is the difference between the files before it and after it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Item, Kind, LayerPath, OPAQUE, WHITEOUT};

/// What the layers so far make, so that the next layer knows what it repeats and what it removes.
#[derive(Debug, Clone, Default)]
pub struct Below {
    standing: BTreeMap<LayerPath, Standing>,
    /// Layers so far.
    layers: usize,
}

/// What stands at a path, never as a hard link: the file's first name may be gone in an upper layer.
#[derive(Debug, Clone)]
struct Standing {
    item: Item,
    layer: usize,
}

/// Where the content of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// In which layer, the lowest being 0.
    pub layer: usize,
    /// The offset in that layer, as it was given here.
    pub at: u64,
    /// Number of bytes.
    pub size: u64,
}

impl Below {
    /// Brings a layer into normal form, and goes up to the view of the next one. `same` is asked whether two
    /// files of one size have the same content, when nothing else tells them apart.
    pub fn normalise<E>(
        &mut self,
        mut items: BTreeMap<LayerPath, Item>,
        epoch: u64,
        mut same: impl FnMut(Bytes, Bytes) -> Result<bool, E>,
    ) -> Result<Vec<(LayerPath, Item)>, E> {
        self.tidy(&mut items, epoch);
        let mut kept = BTreeSet::new();
        for (path, item) in &items {
            if self.is_changed(path, file(&items, item), &mut same)? {
                kept.extend((1..path.len()).map(|end| path[..end].to_vec()).chain([path.clone()]));
            }
        }
        let known = |path: &LayerPath| self.standing.get(path).map(|standing| &standing.item);
        let item = |path: &LayerPath| items.get(path).map(|item| file(&items, item)).or_else(|| known(path));
        let normal: BTreeMap<LayerPath, Item> =
            kept.into_iter().filter_map(|path| item(&path).cloned().map(|item| (path, item))).collect();
        self.add(&normal);
        Ok(link(normal, &items))
    }

    /// Goes up over a layer that stays as it is, whatever its form.
    pub fn stand_on(&mut self, mut items: BTreeMap<LayerPath, Item>, epoch: u64) {
        self.tidy(&mut items, epoch);
        self.add(&items);
    }

    /// Goes up over a layer that is in normal form already.
    pub fn climb(&mut self, items: &BTreeMap<LayerPath, Item>) {
        self.remove_whiteouts(items.keys());
        self.add(items);
    }

    /// Whether it is anything else than what stood there. Of a directory the time does not count: it says that
    /// something came or went, which may be nothing that stays, and not all engines tell.
    fn is_changed<E>(
        &self,
        path: &LayerPath,
        item: &Item,
        same: &mut impl FnMut(Bytes, Bytes) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let Some(Standing { item: known, layer }) = self.standing.get(path) else { return Ok(true) };
        let owned = (item.mode, item.uid, item.gid, &item.attributes)
            == (known.mode, known.uid, known.gid, &known.attributes);
        let dated = item.modified == known.modified;
        Ok(match (&known.kind, &item.kind) {
            (Kind::Directory, Kind::Directory) => !owned,
            (&Kind::File { at, size }, &Kind::File { at: new, size: now })
                if owned && dated && size == now =>
            {
                let before = Bytes { layer: *layer, at, size };
                size > 0 && !same(before, Bytes { layer: self.layers, at: new, size })?
            }
            (Kind::File { .. }, Kind::File { .. }) => true,
            (before, after) => before != after || !owned || !dated,
        })
    }

    /// Times and whiteouts as they are in normal form; what the whiteouts name is gone from here on, and
    /// those of which there was nothing go.
    fn tidy(&mut self, items: &mut BTreeMap<LayerPath, Item>, epoch: u64) {
        self.spell_out(items);
        items.retain(|path, _| gone(path).is_none_or(|gone| self.standing.contains_key(&gone)));
        for (path, item) in items.iter_mut() {
            item.modified = item.modified.min(epoch);
            if gone(path).is_some() {
                *item = whiteout();
            }
        }
        self.remove_whiteouts(items.keys());
    }

    fn add(&mut self, items: &BTreeMap<LayerPath, Item>) {
        for (path, item) in items {
            if item.kind != Kind::Directory {
                self.remove(path);
            }
            if gone(path).is_none() {
                let standing = Standing { item: file(items, item).clone(), layer: self.layers };
                self.standing.insert(path.clone(), standing);
            }
        }
        self.layers += 1;
    }

    /// Some engines say of a directory that was made again that nothing below it shows through, others
    /// name what is gone. Names say the same to every reader, so a layer in normal form has names.
    fn spell_out(&self, items: &mut BTreeMap<LayerPath, Item>) {
        let opaque: Vec<LayerPath> =
            items.keys().filter(|path| path.last().is_some_and(|name| name == OPAQUE)).cloned().collect();
        for mark in opaque {
            items.remove(&mark);
            let mut folders = vec![mark[..mark.len() - 1].to_vec()];
            while let Some(folder) = folders.pop() {
                let children =
                    self.standing.range(folder.clone()..).take_while(|(path, _)| path.starts_with(&folder));
                for (path, below) in children.filter(|(path, _)| path.len() == folder.len() + 1) {
                    match items.get(path) {
                        Some(item) if item.kind == Kind::Directory && below.item.kind == Kind::Directory => {
                            folders.push(path.clone());
                        }
                        Some(_) => {}
                        None => {
                            let name = [WHITEOUT, &path[folder.len()]].concat();
                            items.insert(folder.iter().cloned().chain([name]).collect(), whiteout());
                        }
                    }
                }
            }
        }
    }

    /// `.wh.name` removes `name` of the layers below.
    fn remove_whiteouts<'a>(&mut self, paths: impl IntoIterator<Item = &'a LayerPath>) {
        for path in paths {
            if let Some(gone) = gone(path) {
                self.remove(&gone);
            }
        }
    }

    fn remove(&mut self, path: &LayerPath) {
        let below: Vec<LayerPath> = self
            .standing
            .range(path.clone()..)
            .take_while(|(other, _)| other.starts_with(path))
            .map(|(other, _)| other.clone())
            .collect();
        for path in below {
            self.standing.remove(&path);
        }
    }
}

/// What a whiteout removes; `None` for everything that is none.
fn gone(path: &LayerPath) -> Option<LayerPath> {
    let (name, folder) = path.split_last()?;
    let name = name.strip_prefix(WHITEOUT)?.to_vec();
    Some(folder.iter().cloned().chain([name]).collect())
}

/// Only its name counts; engines fill in modes and dates of their own.
fn whiteout() -> Item {
    let kind = Kind::File { at: 0, size: 0 };
    Item { kind, mode: 0, uid: 0, gid: 0, modified: 0, attributes: BTreeMap::new() }
}

/// The file that an item is: a hard link is another name of one in the same layer.
fn file<'a>(items: &'a BTreeMap<LayerPath, Item>, item: &'a Item) -> &'a Item {
    holder(items, item).and_then(|path| items.get(path)).unwrap_or(item)
}

/// The name to which a hard link leads at last. In a layer of others, links may lead to each other.
fn holder<'a>(items: &'a BTreeMap<LayerPath, Item>, item: &'a Item) -> Option<&'a LayerPath> {
    let mut at = None;
    let mut item = item;
    for _ in 0..MOST_LINKS {
        let Kind::HardLink(target) = &item.kind else { return at };
        (at, item) = (Some(target), items.get(target)?);
    }
    None
}

/// A tar writes links to the first name of a file; one to a link is unusual already.
const MOST_LINKS: usize = 16;

/// Of all names of a file that are left, the first in order holds the bytes, and the others link to it.
fn link(mut normal: BTreeMap<LayerPath, Item>, items: &BTreeMap<LayerPath, Item>) -> Vec<(LayerPath, Item)> {
    let mut first: BTreeMap<&LayerPath, LayerPath> = BTreeMap::new();
    for (path, item) in &mut normal {
        let Some((name, written)) = items.get_key_value(path) else { continue };
        let holder = holder(items, written).unwrap_or(name);
        match first.get(holder) {
            Some(first) => item.kind = Kind::HardLink(first.clone()),
            None => drop(first.insert(holder, path.clone())),
        }
    }
    normal.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{path, show};
    use super::*;

    fn at(text: &str) -> LayerPath {
        path(text.as_bytes()).unwrap().unwrap()
    }

    fn item(kind: Kind, mode: u32) -> Item {
        Item { kind, mode, uid: 0, gid: 0, modified: 99, attributes: BTreeMap::new() }
    }

    fn layer(items: &[(&str, Item)]) -> BTreeMap<LayerPath, Item> {
        items.iter().map(|(path, item)| (at(path), item.clone())).collect()
    }

    fn names(items: &[(LayerPath, Item)]) -> Vec<String> {
        items.iter().map(|(path, item)| format!("{} {:o}", show(path), item.mode)).collect()
    }

    /// A layer in normal form, where files of one size have the same content.
    fn normal(below: &mut Below, layer: BTreeMap<LayerPath, Item>) -> Vec<(LayerPath, Item)> {
        below.normalise(layer, 0, |_, _| Ok::<_, ()>(true)).unwrap()
    }

    const DIRECTORY: Kind = Kind::Directory;
    const FILE: Kind = Kind::File { at: 0, size: 0 };

    #[test]
    fn strays_go_and_the_directories_above_a_change_stay() {
        let mut below = Below::default();
        normal(&mut below, layer(&[("etc", item(DIRECTORY, 0o755)), ("tmp", item(DIRECTORY, 0o1777))]));
        let stray = layer(&[("etc", item(DIRECTORY, 0o755)), ("tmp/x", item(FILE, 0o644))]);
        assert_eq!(names(&normal(&mut below, stray)), ["tmp 1777", "tmp/x 644"]);
        let changed = layer(&[("etc", item(DIRECTORY, 0o700))]);
        assert_eq!(names(&normal(&mut below.clone(), changed)), ["etc 700"]);
    }

    #[test]
    fn a_directory_that_was_removed_is_no_repetition() {
        let mut below = Below::default();
        normal(&mut below, layer(&[("a", item(DIRECTORY, 0o755)), ("a/b", item(DIRECTORY, 0o755))]));
        normal(&mut below, layer(&[("a/.wh.b", item(FILE, 0))]));
        assert_eq!(
            names(&normal(&mut below, layer(&[("a/b", item(DIRECTORY, 0o755))]))),
            ["a 755", "a/b 755"]
        );
    }

    #[test]
    fn what_an_opaque_directory_hides_is_named() {
        let mut below = Below::default();
        let lower = ["d", "d/x", "d/sub", "d/sub/y", "d/sub/z", "d/file"];
        let kind = |path: &str| if ["d", "d/sub"].contains(&path) { DIRECTORY } else { FILE };
        let lower: Vec<(&str, Item)> = lower.iter().map(|path| (*path, item(kind(path), 0o755))).collect();
        normal(&mut below, layer(&lower));
        let opaque = layer(&[
            ("d", item(DIRECTORY, 0o755)),
            ("d/.wh..wh..opq", item(FILE, 0o755)),
            ("d/sub", item(DIRECTORY, 0o755)),
            ("d/sub/y", item(FILE, 0o700)),
            ("d/file", item(FILE, 0o700)),
        ]);
        let named = layer(&[
            ("d", item(DIRECTORY, 0o755)),
            ("d/.wh.x", item(FILE, 0o600)),
            ("d/sub", item(DIRECTORY, 0o755)),
            ("d/sub/.wh.z", item(FILE, 0o600)),
            ("d/sub/y", item(FILE, 0o700)),
            ("d/file", item(FILE, 0o700)),
        ]);
        let spelled = normal(&mut below.clone(), opaque);
        assert_eq!(spelled, normal(&mut below.clone(), named));
        let expected = ["d 755", "d/.wh.x 0", "d/file 700", "d/sub 755", "d/sub/.wh.z 0", "d/sub/y 700"];
        assert_eq!(names(&spelled), expected);
    }

    #[test]
    fn the_first_name_of_a_file_holds_its_bytes() {
        let file = Kind::File { at: 7, size: 3 };
        let one = layer(&[("b", item(file.clone(), 0o644)), ("a", item(Kind::HardLink(at("b")), 0o644))]);
        let other = layer(&[("a", item(file.clone(), 0o644)), ("b", item(Kind::HardLink(at("a")), 0o644))]);
        let written = normal(&mut Below::default(), one);
        assert_eq!(written, normal(&mut Below::default(), other));
        assert_eq!(written[0].1.kind, file);
        assert_eq!(written[1].1.kind, Kind::HardLink(at("a")));
    }

    /// What one engine writes because it was touched, another leaves out.
    #[test]
    fn what_was_only_touched_is_no_change() {
        let file = |at, size| Kind::File { at, size };
        let mut below = Below::default();
        let first = [
            ("d", item(DIRECTORY, 0o755)),
            ("d/f", item(file(0, 5), 0o644)),
            ("l", item(Kind::Link(b"x".into()), 0o777)),
        ];
        normal(&mut below, layer(&first));
        let touched = [
            ("d", Item { modified: 7, ..item(DIRECTORY, 0o755) }),
            ("d/f", item(file(9, 5), 0o644)),
            first[2].clone(),
            (".wh.none", item(FILE, 0)),
        ];
        assert_eq!(names(&normal(&mut below, layer(&touched))), [""; 0]);
        let mut asked = Vec::new();
        let changed = below.normalise(layer(&touched), 0, |one, other| {
            Ok::<_, ()>({
                asked.push((one, other));
                false
            })
        });
        assert_eq!(names(&changed.unwrap()), ["d 755", "d/f 644"]);
        assert_eq!(asked, [(Bytes { layer: 0, at: 0, size: 5 }, Bytes { layer: 2, at: 9, size: 5 })]);
        for other in [item(file(0, 6), 0o644), item(file(0, 5), 0o600), item(Kind::Pipe, 0o644)] {
            assert_eq!(normal(&mut below.clone(), layer(&[("d/f", other)])).len(), 2);
        }
    }

    #[test]
    fn a_file_of_a_lower_layer_gets_another_name() {
        let file = Kind::File { at: 3, size: 5 };
        let link = |to: &str| item(Kind::HardLink(at(to)), 0o644);
        let mut below = Below::default();
        normal(&mut below, layer(&[("a", item(file.clone(), 0o644))]));
        // Some engines list the first name again, others do not know that it is one.
        let both = layer(&[("a", item(file.clone(), 0o644)), ("b", link("a")), ("c", link("b"))]);
        let alone = layer(&[("b", item(file.clone(), 0o644)), ("c", link("b"))]);
        let written = normal(&mut below.clone(), both);
        assert_eq!(written, normal(&mut below.clone(), alone));
        assert_eq!(
            written.iter().map(|(path, item)| (path, &item.kind)).collect::<Vec<_>>(),
            [(&at("b"), &file), (&at("c"), &Kind::HardLink(at("b")))]
        );
        // Links that lead in a circle stay as they are, whoever wrote them.
        let circle = layer(&[("x", link("y")), ("y", link("x"))]);
        assert_eq!(normal(&mut below, circle).len(), 2);
    }
}
