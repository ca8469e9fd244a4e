//! The course as a book: a site made from the READMEs where they are, and from the code that they compare.

#![forbid(unsafe_code)]

mod chapter;
mod contents;
mod glossary;
mod items;
mod markdown;
mod paths;
mod serve;
mod side_by_side;
mod site;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// The course as a book.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the site
    Build(Build),
    /// Build the site, and serve it on this machine
    Serve {
        #[command(flatten)]
        build: Build,
        /// The port; 0 means any free one
        #[arg(long, default_value_t = 3000)]
        port: u16,
    },
}

#[derive(Args, Debug)]
struct Build {
    /// The folder to write to [default: course/book/site]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Where the files of the repository can be browsed: links to source files lead there, else they are plain text
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
    /// The path under which the site will be served; only the page for what is not found needs it
    #[arg(long, value_name = "PATH")]
    site_url: Option<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("book: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Build(build) => build.run().map(drop),
        Command::Serve { build, port } => serve::serve(&build.run()?, port),
    }
}

impl Build {
    /// Builds the site, and returns its folder.
    fn run(self) -> Result<PathBuf> {
        let out = self.out.unwrap_or_else(|| Path::new(site::HOME).join("site"));
        let options = site::Options {
            out: out.clone(),
            repository: self.repository,
            site_url: self.site_url,
        };
        let pages = site::build(&options)?;
        println!("{pages} pages in {}", out.display());
        Ok(out)
    }
}
