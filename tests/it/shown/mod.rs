//! The commands in `README.md` and `docs/` work, and print the shown lines.
//!
//! Each page has a home, in which all of its blocks run in order. In the shown output, `…` stands
//! for any text. `stand_ins.rs` has what a page needs beyond the two programs, and `not_run.rs` has
//! the few commands that cannot run here.

mod inline;
mod not_run;
mod page;
mod services;
mod stage;
mod stand_ins;

use std::fs;
use std::sync::Mutex;
use std::time::Instant;

use crate::support::repository;
use not_run::{NOT_RUN, NotRun, Reason};
use page::{Block, Step, blocks};
use services::Services;
use stage::Stage;
use stand_ins::{STAND_INS, StandIn};

/// The pages with commands: their names and blocks.
fn pages() -> Vec<(String, Vec<Block>)> {
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(repository().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(repository().join(&name)).unwrap();
            (name, blocks(&text))
        })
        .filter(|(_, blocks)| !blocks.is_empty())
        .collect()
}

fn is_not_run<'a>(page: &str, step: &Step) -> Option<&'a NotRun> {
    NOT_RUN
        .iter()
        .find(|entry| entry.page == page && step.command.starts_with(entry.command))
}

fn stand_in<'a>(page: &str, block: &Block) -> Option<&'a StandIn> {
    STAND_INS
        .iter()
        .find(|entry| entry.page == page && block.begins_with(entry.block))
}

#[test]
fn shown_commands_work_and_print_what_is_shown() {
    let services = Services::new();
    // A part of a page's name, to run only that page.
    let only = std::env::var("CONTREE_TEST_PAGE").unwrap_or_default();
    let waiting = Mutex::new(pages());
    let problems = Mutex::new(Vec::new());
    let take = || waiting.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((page, blocks)) = take() {
                    if !page.contains(&only) {
                        continue;
                    }
                    let mut stage = Stage::new(&services);
                    for block in &blocks {
                        let is_run = |step: &Step| is_not_run(&page, step).is_none();
                        let begun = Instant::now();
                        let found = stage.run(block, stand_in(&page, block), is_run);
                        let line = block.line;
                        println!("{page}:{line}: {:.1?}", begun.elapsed());
                        let found = found
                            .into_iter()
                            .map(|problem| format!("{page}:{line}: {problem}"));
                        problems.lock().unwrap().extend(found);
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// A command that cannot run has a reason that still holds, and each stand-in is needed.
#[test]
fn each_exception_is_about_a_shown_command() {
    let pages = pages();
    let of_page = |name: &str| {
        let found = pages.iter().find(|(page, _)| page == name);
        found.map_or(&[][..], |(_, blocks)| blocks)
    };
    let ci = fs::read_to_string(repository().join(".ci/run")).unwrap();
    for NotRun {
        page,
        command,
        reason,
    } in NOT_RUN
    {
        let steps: Vec<&Step> = of_page(page)
            .iter()
            .flat_map(|block| &block.steps)
            .filter(|step| step.command.starts_with(command))
            .collect();
        assert!(!steps.is_empty(), "{page} does not show `{command}`");
        match reason {
            Reason::Step(name) => {
                assert!(ci.contains(&format!("step {name} ")), ".ci/run: {name}");
            }
            Reason::Needs(what) => assert!(!what.is_empty()),
        }
        for step in steps {
            names_what_exists(page, &step.command);
        }
    }
    for entry in STAND_INS {
        let (page, begin) = (entry.page, entry.block);
        let block = of_page(page).iter().find(|block| block.begins_with(begin));
        let block = block.unwrap_or_else(|| panic!("{page} has no block `{begin}`"));
        let commands: Vec<&str> = block.steps.iter().map(|step| &*step.command).collect();
        let text = commands.join("\n");
        for (part, _) in entry.replaced {
            assert!(text.contains(part), "{page}: `{begin}` has no `{part}`");
        }
        if let Some((server, _)) = entry.server {
            let is_shown = commands.iter().any(|command| command.starts_with(server));
            assert!(is_shown, "{page}: `{begin}` has no `{server}`");
        }
    }
}

/// The examples, benchmarks and packages that a command of cargo names exist, and so do scripts.
fn names_what_exists(page: &str, command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let roots: Vec<_> = fs::read_dir(repository().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([repository().to_owned()])
        .collect();
    for pair in words.windows(2) {
        let [option, name] = pair else { continue };
        let file = match *option {
            "--example" => format!("examples/{name}.rs"),
            "--bench" => format!("benches/{name}.rs"),
            "-p" => {
                let name = name.strip_prefix("contree-").unwrap_or(name);
                format!("crates/{name}/Cargo.toml")
            }
            _ => continue,
        };
        let exists = roots.iter().any(|root| root.join(&file).exists());
        assert!(exists, "{page}: `{command}` names {file}");
    }
    for word in words.iter().filter(|word| word.starts_with("tests/")) {
        assert!(repository().join(word).exists(), "{page}: {word}");
    }
}
