//! Mistakes in the manifest.

use super::Mistake;

/// Mistakes that must not compile. Their error messages are in `tests/manifest/problems.txt`.
pub const MANIFEST_MISTAKES: &[Mistake] = &[
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
        "unknown top-level key",
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
        "`from` with an unknown field",
        &[("tools.yaml", "LendRequest.book", "LendRequest.bok")],
    ),
    (
        "`from` with an unknown schema",
        &[("tools.yaml", "LendRequest.book", "LendRequst.book")],
    ),
    (
        "`from` with an unknown parameter",
        &[("tools.yaml", "listBooks.shelf", "listBooks.shelv")],
    ),
    (
        "`from` without a dot",
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
        "read_only is false, but it only reads",
        &[(
            "tools.yaml",
            "office\n    local: none\n    hints: {read_only: true",
            "office\n    local: none\n    hints: {read_only: false",
        )],
    ),
    (
        "destructive is false, but it deletes",
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
        "`why` of hints that need none",
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
        "operation with a body, and arguments that are not in it",
        &[("tools.yaml", "uses: [renameBook]", "operation: renameBook")],
    ),
    (
        "body without a required field",
        &[(
            "tools.yaml",
            "      binding: {from: orderBook.binding, doc: Binding}\n",
            "",
        )],
    ),
    (
        "field that the body lacks",
        &[("tools.yaml", "orderBook.note,", "orderBook.not,")],
    ),
    (
        "field of another body",
        &[(
            "tools.yaml",
            "{from: orderBook.note,",
            "{from: LendRequest.book,",
        )],
    ),
    (
        "map in a body",
        &[("tools.yaml", "orderBook.note,", "orderBook.labels,")],
    ),
    (
        "optional choice in a body",
        &[("tools.yaml", "orderBook.note,", "orderBook.colour,")],
    ),
    (
        "number in a body with another type in Rust",
        &[(
            "api.yaml",
            "gift: {type: boolean}",
            "gift: {type: integer, format: int32}",
        )],
    ),
    (
        "list of choices in a body",
        &[("tools.yaml", "orderBook.languages,", "orderBook.colours,")],
    ),
    (
        "body that is not JSON",
        &[(
            "api.yaml",
            "application/json:\n            schema: {$ref: '#/components/schemas/OrderRequest'}",
            "text/plain:\n            schema: {$ref: '#/components/schemas/OrderRequest'}",
        )],
    ),
    (
        "body that is a union",
        &[(
            "api.yaml",
            "OrderRequest:\n      type: object",
            "OrderRequest:\n      oneOf: []\n      type: object",
        )],
    ),
    (
        "body without fields",
        &[(
            "api.yaml",
            "            schema: {$ref: '#/components/schemas/OrderRequest'}",
            "            schema: {type: object}",
        )],
    ),
    (
        "operation without a required parameter",
        &[(
            "tools.yaml",
            "      book_id: {from: getBook.bookId, doc: The book}",
            "      {}",
        )],
    ),
    (
        "argument that a generated handler cannot pass on",
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
        "schema with an unsupported keyword",
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
        "empty text of a flag",
        &[(
            "tools.yaml",
            "LendRequest.rush,",
            "LendRequest.rush, keeps_empty: true,",
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
        "alias that is a tool",
        &[("tools.yaml", "aliases: [retitle]", "aliases: [lend]")],
    ),
    (
        "alias of two tools",
        &[(
            "tools.yaml",
            "    title: About\n",
            "    title: About\n    aliases: [retitle]\n",
        )],
    ),
    (
        "repeated alias",
        &[(
            "tools.yaml",
            "aliases: [retitle]",
            "aliases: [retitle, retitle]",
        )],
    ),
    (
        "alias in the wrong case",
        &[("tools.yaml", "aliases: [retitle]", "aliases: [re-title]")],
    ),
    (
        "repeated choice",
        &[(
            "tools.yaml",
            "enum: [print, emboss]",
            "enum: [print, emboss, print]",
        )],
    ),
    (
        "task of an operation that the tool does not use",
        &[(
            "tools.yaml",
            "makes_task: {operation: lendBook,",
            "makes_task: {operation: lendBok,",
        )],
    ),
    (
        "task of an operation that starts nothing",
        &[(
            "tools.yaml",
            "makes_task: {operation: lendBook,",
            "makes_task: {operation: getBook,",
        )],
    ),
    (
        "task whose id is not a field",
        &[("tools.yaml", "id: loan_id", "id: loan-id")],
    ),
    (
        "task whose id is missing",
        &[("tools.yaml", "id: loan_id, ", "")],
    ),
    (
        "task with an unknown `waits` argument",
        &[("tools.yaml", "waits: wait}", "waits: wat}")],
    ),
    (
        "task whose `waits` argument is a number",
        &[("tools.yaml", "waits: wait}", "waits: days}")],
    ),
    (
        "task without a tool that looks it up",
        &[(
            "tools.yaml",
            "tasks: {look_up: get_book, cancel: rename}\n",
            "",
        )],
    ),
    (
        "task that an unknown tool looks up",
        &[("tools.yaml", "look_up: get_book", "look_up: get_bok")],
    ),
    (
        "task tools without a tool that makes tasks",
        &[(
            "tools.yaml",
            "    makes_task: {operation: lendBook, id: loan_id, waits: wait}\n",
            "",
        )],
    ),
    (
        "argument in the wrong case",
        &[("tools.yaml", "      tags: {", "      Tags: {")],
    ),
    (
        "tool in the wrong case",
        &[("tools.yaml", "  about:\n", "  About-us:\n")],
    ),
    (
        "tool with the name of a keyword",
        &[("tools.yaml", "  about:\n", "  move:\n")],
    ),
    (
        "tool whose type has the name of a keyword",
        &[("tools.yaml", "  about:\n", "  self_:\n")],
    ),
    (
        "resource with the name of a keyword",
        &[("tools.yaml", "  page:\n", "  type:\n")],
    ),
    (
        "argument with a reserved name",
        &[("tools.yaml", "      tags: {", "      self: {")],
    ),
    (
        "argument of a prompt with the name of a template variable",
        &[("tools.yaml", "      reader: {", "      version: {")],
    ),
    (
        "name of a toolset",
        &[(
            "tools.yaml",
            "  office: Everything",
            "  2x: Nothing.\n  office: Everything",
        )],
    ),
    (
        "reference that leads back to itself",
        &[(
            "api.yaml",
            "    Weight:\n      oneOf:",
            "    Heavy: {$ref: '#/components/schemas/Weight'}\n    Weight: {$ref: '#/components/schemas/Heavy'}\n    Other:\n      oneOf:",
        )],
    ),
    (
        "argument that contains itself",
        &[
            (
                "api.yaml",
                "          book: {type: string}",
                "          book: {$ref: '#/components/schemas/Books'}",
            ),
            (
                "api.yaml",
                "    Weight:\n",
                "    Books: {type: array, items: {$ref: '#/components/schemas/Books'}}\n    Weight:\n",
            ),
        ],
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
        "boolean written as `yes`",
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
        "prompt whose text is not a template",
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
        "prompt argument with an unknown completion",
        &[(
            "tools.yaml",
            "default: fiction}",
            "default: fiction, complete: shelf}",
        )],
    ),
    (
        "prompt argument that completes paths without an image",
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
        "resource with the URI of another one",
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
        "resource with a variable inside a part of its URI",
        &[("tools.yaml", "{book}/page", "no-{book}/page")],
    ),
    (
        "resource that completes an unknown variable",
        &[("tools.yaml", "page: path}", "pge: path}")],
    ),
    (
        "plain answer of a handwritten handler",
        &[(
            "tools.yaml",
            "uses: [renameBook]",
            "uses: [renameBook]\n    answer: plain",
        )],
    ),
    (
        "link to a host that is not listed",
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
        "invisible character",
        &[(
            "tools.yaml",
            "doc: The book}\n\n  rename",
            "doc: The\u{200b} book}\n\n  rename",
        )],
    ),
];
