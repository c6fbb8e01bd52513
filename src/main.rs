//! `imgforge`: from a recipe to a verified running node.

mod cli;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use cli::Context;
use cli::report::Failure;
use cli::screen::Screen;

/// From a recipe to a verified running node.
///
/// Release engineers build, sign and publish images as plain files; operators fetch them, verify
/// every byte against a pinned key, and load them into Docker.
#[derive(Parser)]
#[command(name = "imgforge", version, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: cli::Global,
}

const AFTER_HELP: &str = "\
Release engineers:  imgforge init
                    imgforge keys generate
                    imgforge build app
                    imgforge release app --version 1.0.0
Operators:          imgforge trust add noderr --key cosign.pub --from /media/usb
                    imgforge fetch --verify oracle

`imgforge doctor` says what is missing on this machine. Exit codes are documented in docs/exit-codes.md.";

#[derive(Subcommand)]
enum Command {
    Init(cli::init::Args),
    Recipe(cli::recipe::Args),
    Plan(cli::plan::Args),
    Build(cli::build::Args),
    Export(cli::export::Args),
    Inspect(cli::inspect::Args),
    Cat(cli::cat::Args),
    Diff(cli::diff::Args),
    Delta(cli::delta::Args),
    Keys(cli::keys::Args),
    Sign(cli::sign::Args),
    Attest(Box<cli::attest::Args>),
    Verify(cli::verify::Args),
    Release(cli::release::Args),
    Releases(cli::releases::Args),
    Link(cli::link::Args),
    Push(cli::push::Args),
    Mirror(cli::mirror::Args),
    Prune(cli::prune::Args),
    Sbom(cli::sbom::Args),
    Scan(cli::scan::Args),
    Channel(cli::channel::Args),
    Yank(cli::yank::Args),
    Fetch(cli::fetch::Args),
    Trust(cli::trust::Args),
    Cache(cli::cache::Args),
    Doctor(cli::doctor::Args),
    Completions(cli::completions::Args),
    Man(cli::man::Args),
}

/// How long a command may take to end by itself after it was told to.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let screen = Arc::new(Screen::new(&global));
    let watcher = Arc::clone(&screen);
    tokio::spawn(async move {
        // Work that does not wait, such as hashing, cannot be dropped. Drafts of files have no name,
        // so the process may end at any point.
        interrupted().await;
        tokio::time::sleep(PATIENCE).await;
        watcher.fail(&Failure::interrupted());
        std::process::exit(130);
    });
    let outcome = tokio::select! {
        outcome = run(command, &screen) => outcome,
        // Dropping the work cancels it: BuildKit stops building.
        () = interrupted() => Err(Failure::interrupted()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => screen.fail(&failure),
    }
}

/// Ctrl-C, or the SIGTERM of whoever ends a job: a CI runner, an init system.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut ended) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = ended.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn run(command: Command, screen: &Screen) -> Result<(), Failure> {
    let context = Context::new(screen)?;
    match command {
        Command::Init(args) => args.run(&context),
        Command::Man(args) => args.run(&context),
        Command::Recipe(args) => args.run(&context).await,
        Command::Plan(args) => args.run(&context),
        Command::Build(args) => args.run(&context).await,
        Command::Export(args) => args.run(&context),
        Command::Inspect(args) => args.run(&context),
        Command::Cat(args) => args.run(&context),
        Command::Diff(args) => args.run(&context),
        Command::Delta(args) => args.run(&context),
        Command::Keys(args) => args.run(&context),
        Command::Attest(args) => Box::pin(args.run(&context)).await,
        Command::Sign(args) => args.run(&context),
        Command::Verify(args) => args.run(&context),
        Command::Release(args) => Box::pin(args.run(&context)).await,
        Command::Releases(args) => Box::pin(args.run(&context)).await,
        Command::Push(args) => Box::pin(args.run(&context)).await,
        Command::Link(args) => Box::pin(args.run(&context)).await,
        Command::Mirror(args) => Box::pin(args.run(&context)).await,
        Command::Prune(args) => Box::pin(args.run(&context)).await,
        Command::Fetch(args) => Box::pin(args.run(&context)).await,
        Command::Sbom(args) => args.run(&context),
        Command::Scan(args) => Box::pin(args.run(&context)).await,
        Command::Channel(args) => args.run(&context).await,
        Command::Yank(args) => args.run(&context).await,
        Command::Cache(args) => args.run(&context).await,
        Command::Trust(args) => args.run(&context).await,
        Command::Doctor(args) => Box::pin(args.run(&context)).await,
        Command::Completions(args) => {
            args.run(&context);
            Ok(())
        }
    }
}
