# Commands for developers. `just` lists them. `.ci/run` checks everything.

_list:
    @just --list

# Check code without building it: `just check`, `just check contree-engine`
check crate='':
    cargo clippy {{ if crate == '' { '--workspace' } else { '-p ' + crate } }} --all-targets

# Run all tests, or pass arguments to `cargo test`: `just test -p contree-registry`
test *arguments='--workspace':
    cargo test {{ arguments }}

# Run the tests of the program with a text in their names: `just one call::`
one name *arguments:
    cargo test -p contree-mcp --test it -- {{ name }} {{ arguments }}

# Format the sources
format:
    cargo fmt --all

# Refresh the generated files, or only compare them: `just generate`, `just generate --check`
generate *arguments:
    cargo run --quiet -p contree-xtask -- generate {{ arguments }}

# Run all checks and keep the build: `just ci`, `just ci clippy kills`, `just ci full`
ci *arguments:
    .ci/run --target-dir /var/tmp/contree-ci-warm {{ arguments }}

# Record the public APIs in public-api/, or only compare them: `just public-api --check`
public-api *arguments:
    .ci/public-api {{ arguments }}

# Build the documentation of all crates
docs:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --all-features --no-deps

# Build the documents as a book in target/book, and check its links. It needs mdBook 0.5.
book:
    mdbook build
    python3 tests/interop/book.py target/book

# Print the figures of docs/performance.md
bench:
    cargo bench --profile dist --bench stdio

# Run tests repeatedly on a busy machine: `just load`, `just load 20 -p contree-engine`
load *arguments:
    .ci/load {{ arguments }}

# Build the program with the profile of packages
dist:
    cargo build --profile dist -p contree-mcp
