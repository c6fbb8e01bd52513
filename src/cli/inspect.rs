//! `imgforge inspect`

use std::path::PathBuf;

use imgforge::flow::inspect::{self, Opened};
use imgforge::model::archive::Paper;
use imgforge::model::attestation::Topic;
use indicatif::DecimalBytes;
use serde_json::{Value, json};

use super::Context;
use super::report::Failure;
use super::words::Words;

/// Show what an archive holds: image, layers, directories, members, papers
///
/// Reads the archive's own index and verifies nothing but that the members fit it; `imgforge verify`
/// says whose archive it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Levels of directories whose sizes are shown
    #[arg(long, value_name = "N", default_value_t = 2)]
    depth: usize,
}

/// Directories that are worth a line; `--json` has all.
const LARGEST: usize = 10;

impl Args {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<(), Failure> {
        let opened = inspect::open(&self.file)?;
        let hear = |event: imgforge::step::progress::Event<'_>| context.screen.hear(event);
        let directories = opened.tree(&hear)?.directories(self.depth);
        let papers = papers(&opened)?;
        let (index, image, layers) = (&opened.index, opened.index.image(), opened.layers());
        let compressor = index.compressor();
        let mut words = Words::default();
        words.row("archive", format!("{}  {}", self.file.display(), DecimalBytes(opened.size)));
        words.row("image", format!("{}  {}  {}", image.tag, image.platform, image.config.digest));
        for (number, layer) in layers.iter().enumerate() {
            let name = if number == 0 { "layers" } else { "" };
            let (size, packed) = (DecimalBytes(layer.size), DecimalBytes(layer.packed));
            words.row(
                name,
                format!("{:>10}  {:>10} packed  {}", size.to_string(), packed.to_string(), layer.digest),
            );
        }
        for (number, (path, size)) in directories.iter().take(LARGEST).enumerate() {
            let name = if number == 0 { "largest" } else { "" };
            words.row(name, format!("{:>10}  {path}", DecimalBytes(*size).to_string()));
        }
        words.row(
            "members",
            format!(
                "{}, made by {} {} at level {}; their index has {}",
                index.members().len(),
                compressor.name,
                compressor.version,
                compressor.level,
                DecimalBytes(opened.footer.body - opened.footer.index_at)
            ),
        );
        for (paper, summary) in &papers {
            let size = DecimalBytes(paper.size);
            words.row("paper", format!("{}  {size}{}", paper.name, in_words(*summary)));
        }
        words.row(
            "seal",
            match &opened.sealed {
                Some(_) => "present; `imgforge verify` says whose",
                None => "none: nobody signed this archive",
            },
        );
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({"digest": layer.digest, "size": layer.size, "packed": layer.packed}))
            .collect();
        let directories: Vec<Value> =
            directories.iter().map(|(path, size)| json!({"path": path, "size": size})).collect();
        let papers: Vec<Value> = papers
            .iter()
            .map(|(paper, summary)| json!({"name": paper.name, "size": paper.size, "digest": paper.digest, "components": summary}))
            .collect();
        context.screen.result(
            words.text(),
            &json!({
                "file": self.file, "size": opened.size, "image": image, "layers": layers,
                "directories": directories, "papers": papers, "compressor": compressor,
                "members": {
                    "count": index.members().len(), "packed": index.packed_size(), "content": index.plain_size(),
                    "index": opened.footer.body - opened.footer.index_at,
                },
                "sealed": opened.sealed.is_some(),
            }),
        );
        Ok(())
    }
}

fn in_words(components: Option<usize>) -> String {
    components.map_or_else(String::new, |count| format!("  lists {count} components"))
}

/// Each paper, and how many components it lists if it is an SBOM.
fn papers(opened: &Opened) -> Result<Vec<(Paper, Option<usize>)>, Failure> {
    let mut papers = Vec::new();
    for paper in opened.index.papers() {
        let list = match Topic::of_paper(&paper.name) {
            // The first is the image itself.
            Some(Topic::Spdx) => Some(("packages", 1)),
            Some(Topic::Cyclonedx) => Some(("components", 0)),
            Some(Topic::Provenance) | None => None,
        };
        let count = match list {
            Some((list, besides)) if paper.size <= LARGEST_SBOM => {
                let bytes = opened.paper(&paper.digest)?;
                let document: Option<Value> = serde_json::from_slice(&bytes).ok();
                document.and_then(|document| document.get(list)?.as_array()?.len().checked_sub(besides))
            }
            _ => None,
        };
        papers.push((paper.clone(), count));
    }
    Ok(papers)
}

/// A larger SBOM is listed and not counted.
const LARGEST_SBOM: u64 = 64 << 20;
