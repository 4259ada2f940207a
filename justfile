# What developers run here. `just` lists the recipes; .ci/run checks everything.

_list:
    @just --list

# Compile without building: `just check`, `just check contree-engine`
check crate='':
    cargo clippy {{ if crate == '' { '--workspace' } else { '-p ' + crate } }} --all-targets

# Run all tests, or what `cargo test` takes: `just test -p contree-registry`
test *arguments='--workspace':
    cargo test {{ arguments }}

# Run tests of the program by a part of their names: `just one call::`
one name *arguments:
    cargo test -p contree-mcp --test it -- {{ name }} {{ arguments }}

# Format the sources
format:
    cargo fmt --all

# Write the generated files anew: `just generate`, `just generate --check`
generate *arguments:
    cargo run --quiet -p contree-xtask -- generate {{ arguments }}

# Run .ci/run and keep what it builds: `just ci`, `just ci clippy kills`, `just ci full`
ci *arguments:
    .ci/run --target-dir /var/tmp/contree-ci-warm {{ arguments }}

# Build the documentation of all crates
docs:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --all-features --no-deps

# Print the figures of docs/performance.md
bench:
    cargo bench --profile dist --bench stdio

# Run tests on a busy machine, again and again: `just load`, `just load 20 -p contree-engine`
load *arguments:
    .ci/load {{ arguments }}

# Build the program as packages have it
dist:
    cargo build --profile dist -p contree-mcp
