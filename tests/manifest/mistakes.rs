//! Mistakes in the manifest, and what the build says about each: file, line and remedy.

use super::*;

/// A name, and edits of the small manifest: file, what stands there, what it becomes.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

/// Every case must be refused. `problems.txt` holds the texts.
const MANIFEST: &[Case] = &[
    (
        "unknown key of a tool",
        &[("tools.yaml", "title: About", "titel: About")],
    ),
    (
        "unknown key of a param",
        &[(
            "tools.yaml",
            "{from: LendRequest.book,",
            "{form: LendRequest.book,",
        )],
    ),
    (
        "unknown key at the top",
        &[("tools.yaml", "unexposed:", "unexposd:")],
    ),
    (
        "repeated key",
        &[(
            "tools.yaml",
            "title: About",
            "title: About\n    title: Again",
        )],
    ),
    (
        "repeated tool",
        &[("tools.yaml", "  about:\n", "  rename:\n")],
    ),
    (
        "repeated argument",
        &[("tools.yaml", "      days: {", "      book: {")],
    ),
    (
        "dangling from: field",
        &[("tools.yaml", "LendRequest.book", "LendRequest.bok")],
    ),
    (
        "dangling from: schema",
        &[("tools.yaml", "LendRequest.book", "LendRequst.book")],
    ),
    (
        "dangling from: parameter",
        &[("tools.yaml", "listBooks.shelf", "listBooks.shelv")],
    ),
    (
        "dangling from: no dot",
        &[("tools.yaml", "LendRequest.book", "LendRequest")],
    ),
    (
        "default overridden without why",
        &[("tools.yaml", "max: 30, why: books are missed, ", "")],
    ),
    (
        "bound overridden without why",
        &[(
            "tools.yaml",
            "default: 14, max: 30, why: books are missed, ",
            "max: 30, required: true, ",
        )],
    ),
    (
        "choices overridden without why",
        &[(
            "tools.yaml",
            "listBooks.shelf,",
            "listBooks.shelf, enum: [fiction],",
        )],
    ),
    (
        "required overridden without why",
        &[(
            "tools.yaml",
            "LendRequest.name,",
            "LendRequest.name, required: false,",
        )],
    ),
    (
        "type overridden without why",
        &[(
            "tools.yaml",
            "type: integer, why: 'kilograms, as scales say',",
            "type: integer,",
        )],
    ),
    (
        "why without an override",
        &[(
            "tools.yaml",
            "LendRequest.book,",
            "LendRequest.book, why: so,",
        )],
    ),
    (
        "why without from",
        &[(
            "tools.yaml",
            "array of integer,",
            "array of integer, why: so,",
        )],
    ),
    (
        "override that changes nothing",
        &[(
            "tools.yaml",
            "LendRequest.rush,",
            "LendRequest.rush, default: false,",
        )],
    ),
    (
        "missing hint",
        &[(
            "tools.yaml",
            "destructive: true, idempotent: true, ",
            "destructive: true, ",
        )],
    ),
    ("missing title", &[("tools.yaml", "    title: About\n", "")]),
    ("missing doc", &[("tools.yaml", ", doc: Title}", "}")]),
    (
        "missing instructions",
        &[("tools.yaml", "instructions: instructions.md.j2\n", "")],
    ),
    (
        "read_only, but it writes",
        &[(
            "tools.yaml",
            "read_only: false, destructive: true, ",
            "read_only: true, destructive: false, ",
        )],
    ),
    (
        "read_only, but it writes here",
        &[(
            "tools.yaml",
            "    toolset: office\n    local: none",
            "    toolset: office\n    local: write",
        )],
    ),
    (
        "read_only and destructive",
        &[(
            "tools.yaml",
            "read_only: false, destructive: true, ",
            "read_only: true, destructive: true, why: so, ",
        )],
    ),
    (
        "read_only denied",
        &[(
            "tools.yaml",
            "office\n    local: none\n    hints: {read_only: true",
            "office\n    local: none\n    hints: {read_only: false",
        )],
    ),
    (
        "destructive denied",
        &[
            (
                "tools.yaml",
                "uses: [renameBook]",
                "uses: [renameBook, returnBook]",
            ),
            ("tools.yaml", "destructive: true", "destructive: false"),
        ],
    ),
    (
        "idempotent, but it posts",
        &[(
            "tools.yaml",
            "uses: [renameBook]",
            "uses: [renameBook, lendBook]",
        )],
    ),
    (
        "open_world, but it starts nothing",
        &[(
            "tools.yaml",
            "destructive: true, idempotent: true, open_world: false",
            "destructive: true, idempotent: true, open_world: true",
        )],
    ),
    (
        "wrong hints without why",
        &[(
            "tools.yaml",
            "\n      why: the DELETE only undoes its own loan",
            "",
        )],
    ),
    (
        "why of hints explains nothing",
        &[(
            "tools.yaml",
            "destructive: true, ",
            "destructive: true, why: so, ",
        )],
    ),
    (
        "operation not listed",
        &[(
            "tools.yaml",
            "unexposed:\n  printCatalogue: too long",
            "unexposed: {}",
        )],
    ),
    (
        "new operation",
        &[(
            "api.yaml",
            "  /catalogue:\n    get:",
            "  /catalogue:\n    post: {operationId: printMore}\n    get:",
        )],
    ),
    (
        "unexposed, but used",
        &[(
            "tools.yaml",
            "  printCatalogue:",
            "  getBook: so\n  printCatalogue:",
        )],
    ),
    (
        "unexposed, but unknown",
        &[(
            "tools.yaml",
            "  printCatalogue:",
            "  printCatalog: so\n  printCatalogue:",
        )],
    ),
    (
        "unexposed without a reason",
        &[("tools.yaml", "too long", "''")],
    ),
    (
        "unknown operation in uses",
        &[("tools.yaml", "uses: [renameBook]", "uses: [renamBook]")],
    ),
    (
        "operation and uses",
        &[(
            "tools.yaml",
            "operation: getBook",
            "operation: getBook\n    uses: [getBook]",
        )],
    ),
    (
        "unknown operation",
        &[("tools.yaml", "operation: getBook", "operation: getBok")],
    ),
    (
        "operation with a body",
        &[("tools.yaml", "uses: [renameBook]", "operation: renameBook")],
    ),
    (
        "operation without what it requires",
        &[(
            "tools.yaml",
            "      book_id: {from: getBook.bookId, doc: The book}",
            "      {}",
        )],
    ),
    (
        "generated handler with an argument of its own",
        &[("tools.yaml", "{from: listBooks.shelf,", "{type: string,")],
    ),
    (
        "union of types",
        &[(
            "tools.yaml",
            "type: integer, why",
            "type: integer or string, why",
        )],
    ),
    (
        "union of types with a bar",
        &[(
            "tools.yaml",
            "type: array of integer",
            "type: array of integer|string",
        )],
    ),
    (
        "union of types as a list",
        &[(
            "tools.yaml",
            "type: array of integer",
            "type: [string, integer]",
        )],
    ),
    (
        "union of the API",
        &[(
            "tools.yaml",
            "type: integer, why: 'kilograms, as scales say', ",
            "",
        )],
    ),
    (
        "object of the API",
        &[("tools.yaml", "LendRequest.book", "LendRequest.friend")],
    ),
    (
        "schema that cannot be told",
        &[("tools.yaml", "LendRequest.book", "LendRequest.fee")],
    ),
    (
        "unknown type",
        &[(
            "tools.yaml",
            "type: array of integer",
            "type: list of integer",
        )],
    ),
    (
        "neither from nor type",
        &[("tools.yaml", "type: array of integer, ", "")],
    ),
    (
        "unknown format",
        &[(
            "tools.yaml",
            "type: array of integer",
            "type: string, format: email",
        )],
    ),
    (
        "default beyond the bound",
        &[("tools.yaml", "default: 14", "default: 31")],
    ),
    (
        "default of another type",
        &[("tools.yaml", "default: 14", "default: soon")],
    ),
    (
        "default not among the choices",
        &[("tools.yaml", "default: print", "default: paint")],
    ),
    (
        "choice of another type",
        &[("tools.yaml", "enum: [print, emboss]", "enum: [print, 3]")],
    ),
    (
        "bound of a text",
        &[(
            "tools.yaml",
            "type: array of integer",
            "type: string, max: 3",
        )],
    ),
    (
        "required with a default",
        &[(
            "tools.yaml",
            "default: print",
            "default: print, required: true",
        )],
    ),
    (
        "null values of a text",
        &[(
            "tools.yaml",
            "LendRequest.rush,",
            "LendRequest.rush, null_values: true,",
        )],
    ),
    (
        "alias of two arguments",
        &[(
            "tools.yaml",
            "listBooks.titlePrefix,",
            "listBooks.titlePrefix, aliases: [shelf],",
        )],
    ),
    (
        "alias that is an argument",
        &[("tools.yaml", "aliases: [shelf]", "aliases: [title]")],
    ),
    (
        "name in another case",
        &[("tools.yaml", "      tags: {", "      Tags: {")],
    ),
    (
        "tool in another case",
        &[("tools.yaml", "  about:\n", "  About-us:\n")],
    ),
    (
        "unknown toolset",
        &[(
            "tools.yaml",
            "title: Rename a book\n    toolset: office",
            "title: Rename a book\n    toolset: ofice",
        )],
    ),
    (
        "toolset without tools",
        &[(
            "tools.yaml",
            "  office: Everything",
            "  cellar: Nothing.\n  office: Everything",
        )],
    ),
    (
        "unknown local",
        &[("tools.yaml", "local: read", "local: reads")],
    ),
    (
        "boolean of another language",
        &[("tools.yaml", "destructive: true", "destructive: yes")],
    ),
    (
        "syntax",
        &[("tools.yaml", "doc: Title}", "doc: Title: of it}")],
    ),
    (
        "operation without an id",
        &[("api.yaml", "      operationId: printCatalogue\n", "")],
    ),
    (
        "repeated key in the API document",
        &[(
            "api.yaml",
            "        book: {type: string}",
            "        book: {}\n          book: {type: string}",
        )],
    ),
    (
        "several at once",
        &[
            ("tools.yaml", "title: About", "titel: About"),
            (
                "tools.yaml",
                "doc: Only titles that begin so",
                "doc: [Only]",
            ),
            ("tools.yaml", "\n      open_world: true\n", "\n"),
            (
                "tools.yaml",
                "    title: Lend a book\n",
                "    title: Lend a book\n    title: Again\n",
            ),
            ("tools.yaml", "local: read", "local: reads"),
        ],
    ),
    (
        "several references at once",
        &[
            ("tools.yaml", "LendRequest.book", "LendRequest.bok"),
            ("tools.yaml", "max: 30, why: books are missed, ", ""),
            ("tools.yaml", "uses: [renameBook]", "uses: [renamBook]"),
            ("tools.yaml", "type: array of integer", "type: string|null"),
        ],
    ),
    (
        "several meanings at once",
        &[
            ("tools.yaml", "too long", "''"),
            (
                "tools.yaml",
                "uses: [renameBook]",
                "uses: [renameBook, lendBook]",
            ),
            ("tools.yaml", "days=3", "dais=3"),
            ("instructions.md.j2", "tools.about.name", "tools.abut.name"),
        ],
    ),
    (
        "guide without a doc",
        &[("tools.yaml", "doc: How to behave, ", "")],
    ),
    (
        "name of a prompt",
        &[("tools.yaml", "  find-book:", "  find_book:")],
    ),
    (
        "prompt whose text is no template",
        &[(
            "tools.yaml",
            "template: prompts/find-book.md.j2",
            "template: Find a book",
        )],
    ),
    (
        "prompt argument that hides a variable of all templates",
        &[("tools.yaml", "      reader: {", "      tools: {")],
    ),
    (
        "prompt argument that is required and has a default",
        &[(
            "tools.yaml",
            "default: fiction}",
            "default: fiction, required: true}",
        )],
    ),
    (
        "prompt argument that completes as nothing does",
        &[(
            "tools.yaml",
            "default: fiction}",
            "default: fiction, complete: shelf}",
        )],
    ),
    (
        "prompt argument that is a path of no image",
        &[(
            "tools.yaml",
            "default: fiction}",
            "default: fiction, complete: path}",
        )],
    ),
    (
        "resource of an unknown tool",
        &[("tools.yaml", "tool: get_book", "tool: get_bok")],
    ),
    (
        "resource whose URI is another's",
        &[(
            "tools.yaml",
            "  page:\n",
            "  leaf:\n    uri: contree://book/{b}/page/{p}\n    title: Leaf\n    doc: A leaf\n    mime: text/plain\n    tool: get_book\n  page:\n",
        )],
    ),
    (
        "resource with another scheme",
        &[("tools.yaml", "uri: contree://book", "uri: file://book")],
    ),
    (
        "resource without a variable",
        &[(
            "tools.yaml",
            "{book}/page/{page}\n    title: Page\n    doc: A page of a book\n    mime: text/plain\n    tool: get_book\n    complete: {book: image, page: path}",
            "page\n    title: Page\n    doc: A page of a book\n    mime: text/plain\n    tool: get_book",
        )],
    ),
    (
        "resource with a variable that is no whole part",
        &[("tools.yaml", "{book}/page", "no-{book}/page")],
    ),
    (
        "resource that completes an unknown variable",
        &[("tools.yaml", "page: path}", "pge: path}")],
    ),
    (
        "plain answer of a handler that is not generated",
        &[(
            "tools.yaml",
            "uses: [renameBook]",
            "uses: [renameBook]\n    answer: plain",
        )],
    ),
    (
        "link to a host that is not named",
        &[("tools.yaml", "links: [books.example]", "links: []")],
    ),
    (
        "link in a text of the manifest",
        &[(
            "tools.yaml",
            "description: Look up one book.",
            "description: Look up one book. http://evil.example:80/x",
        )],
    ),
    (
        "character that nobody sees",
        &[(
            "tools.yaml",
            "doc: The book}\n\n  rename",
            "doc: The\u{200b} book}\n\n  rename",
        )],
    ),
];

/// The same for templates and prose. `templates.txt` holds the texts.
const TEMPLATES: &[Case] = &[
    (
        "undefined variable",
        &[(
            "tools/lend.md.j2",
            "Lend a book for {{ tool.params.days.default }}",
            "Lend a book for {{ tool.params.dais.default }}",
        )],
    ),
    (
        "undefined variable in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end, {{ tool.params.days.default }}",
            "Without end, {{ tool.params.days.defalt }}",
        )],
    ),
    (
        "undefined variable in an inline text",
        &[(
            "tools.yaml",
            "{{ tools.lend.name }}",
            "{{ tools.lent.name }}",
        )],
    ),
    (
        "undefined variable in a param's doc",
        &[("tools.yaml", "doc: Numbers", "doc: '{{ tool.nam }}'")],
    ),
    (
        "undefined variable in an included file",
        &[("part.md.j2", "tools.lend.params", "tools.lend.parms")],
    ),
    (
        "undefined variable in a guide",
        &[("guides/house.md.j2", "guides.house.uri", "guides.home.uri")],
    ),
    (
        "undefined field of a loop variable",
        &[("page.md.j2", "tool.description", "tool.describtion")],
    ),
    (
        "undefined field of a loop variable in a branch not taken",
        &[(
            "page.md.j2",
            "- {{ name }}",
            "- {% if name == \"none\" %}{% for key, param in tool.params|items %}{{ param.typ }}{% endfor %}{% endif %}{{ name }}",
        )],
    ),
    (
        "default that an argument has not",
        &[(
            "tools/lend.md.j2",
            "Lend a book for {{ tool.params.days.default }}",
            "Lend a book for {{ tool.params.book.default }}",
        )],
    ),
    (
        "unknown filter",
        &[("macros.md.j2", "params|items", "params|itens")],
    ),
    (
        "unknown filter in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end, {{ tool.params.days.default }}",
            "Without end, {{ tool.params.days.default|shuot }}",
        )],
    ),
    (
        "unknown test",
        &[(
            "tools/lend.md.j2",
            "{% else %}",
            "{% elif tool.name is definend %}{% else %}",
        )],
    ),
    (
        "unknown included file",
        &[(
            "tools/lend.md.j2",
            "{% include \"part.md.j2\" %}",
            "{% include \"prat.md.j2\" %}",
        )],
    ),
    (
        "unknown included file in a branch not taken",
        &[(
            "tools/lend.md.j2",
            "Without end",
            "{% include \"nothing.md.j2\" %}Without end",
        )],
    ),
    (
        "unknown macros",
        &[(
            "tools/lend.md.j2",
            "from \"macros.md.j2\"",
            "from \"macro.md.j2\"",
        )],
    ),
    (
        "macro with a global that is not there",
        &[("macros.md.j2", "{{ name }}", "{{ tools.lend.name }}")],
    ),
    (
        "unused template",
        &[("tools/lend.md.j2", "{% include \"part.md.j2\" %}", "Soon.")],
    ),
    (
        "unknown template of a description",
        &[(
            "tools.yaml",
            "description: tools/lend.md.j2",
            "description: tools/lent.md.j2",
        )],
    ),
    (
        "unknown template of the instructions",
        &[(
            "tools.yaml",
            "instructions: instructions.md.j2",
            "instructions: instruction.md.j2",
        )],
    ),
    (
        "syntax of a template",
        &[("part.md.j2", "The shelf", "{% if %}The shelf")],
    ),
    (
        "syntax of an inline text",
        &[(
            "tools.yaml",
            "{{ tools.lend.name }}",
            "{{ tools.lend.name }",
        )],
    ),
    (
        "prose names an unknown tool",
        &[("tools.yaml", "Then `lend(book", "Then `lent(book")],
    ),
    (
        "prose names an unknown argument",
        &[("tools.yaml", "days=3", "dais=3")],
    ),
    (
        "character that turns the order of others around",
        &[("guides/house.md.j2", "Be quiet.", "Be \u{202e}quiet.")],
    ),
    (
        "prompt that reads what is no argument",
        &[(
            "prompts/find-book.md.j2",
            "among {{ shelf }}",
            "among {{ shelv }}",
        )],
    ),
    (
        "prompt that reads an argument which may be left out",
        &[(
            "prompts/find-book.md.j2",
            "among {{ shelf }}",
            "among {{ shelf }} for {{ reader }}",
        )],
    ),
    (
        "prompt that does not read an argument",
        &[("prompts/find-book.md.j2", "among {{ shelf }}", "there")],
    ),
    (
        "prompt that calls an unknown tool",
        &[("prompts/find-book.md.j2", "`lend(", "`lent(")],
    ),
    (
        "call in a block of code with an unknown argument",
        &[("guides/house.md.j2", "days=2", "dayz=2")],
    ),
    (
        "prose names an unknown guide",
        &[(
            "tools.yaml",
            "contree://guide/house",
            "contree://guide/hose",
        )],
    ),
];

fn refusals(cases: &[Case]) -> String {
    let good = Fixture::good();
    let mut report = String::new();
    for (name, edits) in cases {
        let mut fixture = good.clone();
        for (file, from, to) in *edits {
            fixture.edit(file, from, to);
        }
        let problems = match fixture.compile() {
            Ok(_) => panic!("{name}: it compiles"),
            Err(problems) => problems,
        };
        assert!(!problems.is_empty(), "{name}: refused without a reason");
        report.push_str(&format!("# {name}\n"));
        for problem in problems {
            report.push_str(&format!("{problem}\n"));
        }
        report.push('\n');
    }
    report
}

#[test]
fn every_mistake_in_the_manifest_is_refused_with_place_and_remedy() {
    compare(
        root().join("tests/manifest/problems.txt"),
        &refusals(MANIFEST),
    );
}

#[test]
fn every_mistake_in_a_template_is_refused_with_place_and_remedy() {
    compare(
        root().join("tests/manifest/templates.txt"),
        &refusals(TEMPLATES),
    );
}
